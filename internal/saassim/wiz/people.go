package wiz

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// The kinds of principal, as the userType filter spells them.
const (
	userAccount    principalKind = "USER_ACCOUNT"
	serviceAccount principalKind = "SERVICE_ACCOUNT"
)

type principalKind string

// principal is a person or a program with an account in the tenant.
type principal struct {
	kind     principalKind
	id, name string
	email    string
	clientID string   // of a service account
	scopes   []string // of a service account
	typ      string   // of a service account: ServiceAccountType
	made     time.Time
	deleted  bool // only snapshots of it are left
	agents   []string
	ips      []string
	country  string
}

// idAs is the id where the principal is of the kind, and "" where it is not.
func (p *principal) idAs(kind principalKind) string {
	if p.kind == kind {
		return p.id
	}
	return ""
}

// as is the account itself where it is of the kind and still there.
func (p *principal) as(kind principalKind) any {
	if p == nil || p.kind != kind || p.deleted {
		return nil
	}
	return account{p}
}

// account is a principal as a User or a ServiceAccount.
type account struct{ p *principal }

func (a account) typename() string {
	if a.p.kind == userAccount {
		return "User"
	}
	return "ServiceAccount"
}

func (a account) field(name string) any {
	switch name {
	case "id":
		return a.p.id
	case "name":
		return a.p.name
	case "email":
		return a.p.email
	case "enabled":
		return true
	case "isSuspended", "internal":
		return false
	case "createdAt", "updatedAt", "lastRotatedAt":
		return a.p.made
	case "clientId":
		return a.p.clientID
	case "scopes":
		return a.p.scopes
	case "type":
		return a.p.typ
	}
	return nil // lastLoginAt, expiresAt, description
}

// snapshotOf is a principal as an audit log entry remembers it, which outlives
// the account.
type snapshotOf struct{ p *principal }

func (s snapshotOf) typename() string {
	if s.p.kind == userAccount {
		return "UserSnapshot"
	}
	return "ServiceAccountSnapshot"
}

func (s snapshotOf) field(name string) any {
	switch name {
	case "id":
		return s.p.id
	case "name":
		if s.p.kind == userAccount {
			return s.p.email // so it is in samples
		}
		return s.p.name
	}
	return s.p.as(s.p.kind) // user, serviceAccount
}

// serviceAccounts answers the query of that name.
func (c *call) serviceAccounts(args map[string]any) (object, gqlError) {
	const most = 500
	return c.connection("ServiceAccount", args, most, 0, func() (result, error) {
		filterBy, _ := args["filterBy"].(map[string]any)
		var made saassim.Window
		if v := filterBy["createdAt"]; v != nil {
			var err error
			if made, err = readWindow(v, c.w.Now(), c.w.opts.Inclusive); err != nil {
				return result{}, err
			}
		}
		part, _ := filterBy["name"].(string)
		types := texts(filterBy["type"])
		var found []*principal
		for _, p := range c.w.gen.accounts {
			enabled, asked := filterBy["enabled"].(bool)
			switch {
			case p.deleted, asked && !enabled, !made.Has(p.made):
			case len(types) > 0 && !slices.Contains(types, p.typ):
			case !strings.Contains(strings.ToLower(p.name), strings.ToLower(part)):
			default:
				found = append(found, p)
			}
		}
		order, _ := args["orderBy"].(map[string]any)
		slices.SortStableFunc(found, func(a, b *principal) int {
			if order["field"] == "NAME" {
				return directed(order, cmp.Compare(a.name, b.name))
			}
			return directed(order, a.made.Compare(b.made))
		})
		return result{n: len(found), at: func(i int) object { return account{found[i]} }}, nil
	})
}

// directed turns a comparison round where an orderBy asks for DESC.
func directed(order map[string]any, c int) int {
	if order["direction"] == "DESC" {
		return -c
	}
	return c
}

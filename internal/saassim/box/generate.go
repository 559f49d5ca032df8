package box

import (
	"fmt"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// event is an event of the enterprise. It never changes once it is made.
type event struct {
	n         int // counts the events as they are made
	id, kind  string
	by        string // id of who did it
	at        time.Time
	indexed   time.Time // from when admin_logs has it
	streamed  time.Time // from when the stream has it; zero: never
	document  map[string]any
	json      []byte
	forItself []byte // as it stands in the feed of who did it; nil: not at all
}

func (e *event) Key() string         { return e.id }
func (e *event) Happened() time.Time { return e.at }
func (e *event) Shows() time.Time    { return e.indexed }

// account is a user of the enterprise.
type account struct {
	saassim.Person
	id    string
	admin bool
}

func (a *account) document() map[string]any {
	return map[string]any{"type": "user", "id": a.id, "name": a.Name(), "login": a.Email}
}

// anonymous is how the product names who is not signed in.
var anonymous = map[string]any{"type": "user", "id": "2", "name": "Unknown User", "login": ""}

type item struct {
	id, name, kind string // kind is file or folder
	owner          *account
	folder         *item // nil at the top
	size           int
}

// generator makes events. It is not safe for concurrent use, but for its users,
// which do not change.
type generator struct {
	saassim.Dice
	zone   *time.Location
	made   int
	users  []*account
	byID   map[string]*account
	items  []*item
	groups [][2]string // id and name
}

func newGenerator(o Options) *generator {
	g := &generator{Dice: saassim.NewDice(o.Seed, 1), zone: o.Zone, byID: map[string]*account{}}
	for i := range o.Users {
		a := &account{id: "1" + g.Text(10, saassim.Digits), Person: g.Person(i), admin: i%16 == 0}
		g.users, g.byID[a.id] = append(g.users, a), a
	}
	for i := range 12 {
		f := &item{id: "20" + g.Text(10, saassim.Digits), kind: "folder", name: saassim.Pick(g.Dice, saassim.Words) + " " + g.Text(3, saassim.Lower), owner: saassim.Pick(g.Dice, g.users)}
		if i > 3 {
			f.folder = g.items[g.IntN(i)]
		}
		g.items = append(g.items, f)
	}
	for range 60 {
		folder := g.items[g.IntN(12)]
		name := saassim.Pick(g.Dice, saassim.Words) + " " + g.Text(4, saassim.Lower) + saassim.Pick(g.Dice, []string{".pdf", ".docx", ".csv", ".boxnote", ".key", ""})
		g.items = append(g.items, &item{id: "120" + g.Text(10, saassim.Digits), kind: "file", name: name, owner: folder.owner, folder: folder, size: g.IntN(40_000_000)})
	}
	for range 6 {
		g.groups = append(g.groups, [2]string{"15" + g.Text(9, saassim.Digits), saassim.Pick(g.Dice, saassim.Words) + " group"})
	}
	return g
}

// user is the one of an id, nil if there is none.
func (g *generator) user(id string) *account { return g.byID[id] }

// itemSource is a file or folder as most events show it.
func (g *generator) itemSource(i *item) map[string]any {
	return map[string]any{"item_type": i.kind, "item_id": i.id, "item_name": i.name, "parent": parent(i), "owned_by": i.owner.document()}
}

// sharedSource is a file or folder as collaborations show it.
func sharedSource(i *item) map[string]any {
	return map[string]any{i.kind + "_id": i.id, i.kind + "_name": i.name, "parent": parent(i), "owned_by": i.owner.document()}
}

func parent(i *item) any {
	if i.folder == nil {
		return map[string]any{"type": "folder", "id": "0", "name": "All Files"}
	}
	return map[string]any{"type": "folder", "id": i.folder.id, "name": i.folder.name}
}

// services are programs through which people use the product.
var services = [][2]string{{"231318", "Multiput Uploads"}, {"254429", "Box Drive"}, {"553530", "Box Elements (used in Box Web App)"}, {"120", "Box Web Application"}}

// itemDetails are what else an event says of a file.
func (g *generator) itemDetails(i *item) map[string]any {
	if i.kind == "folder" {
		return nil
	}
	d := map[string]any{"size": i.size, "version_id": "13" + g.Text(11, saassim.Digits)}
	if g.Chance(0.6) {
		s := saassim.Pick(g.Dice, services)
		d["service_id"], d["service_name"] = s[0], s[1]
		if s[1] == "Box Drive" {
			d["file_hash"], d["hash_type"], d["file_path"] = g.Text(40, saassim.Hex), "sha1", "/"+i.folder.name
		}
	}
	if g.Chance(0.5) {
		d["ekm_id"] = g.UUID()
	}
	if g.Chance(0.2) {
		d["access_token_identifier"] = g.Text(64, saassim.Hex)
	}
	return d
}

// event makes an event of the usual mix: mostly files, some sign-ins, and now
// and then something that an administrator does.
func (g *generator) event(at time.Time) *event {
	by := saassim.Pick(g.Dice, g.users)
	e := &event{n: g.made, id: g.UUID(), by: by.id, at: at.UTC().Truncate(time.Second)}
	g.made++
	d := map[string]any{
		"type": "event", "event_id": e.id, "created_at": g.written(e.at), "created_by": by.document(), "source": by.document(),
		"ip_address": saassim.Pick(g.Dice, by.IPs), "session_id": nil, "additional_details": nil, "action_by": nil,
	}
	switch n := g.IntN(100); {
	case n < 60:
		g.file(e, d, by)
	case n < 78:
		g.signIn(e, d, by)
	case n < 88:
		g.sharing(e, d, by)
	case n < 92:
		e.kind = saassim.Pick(g.Dice, []string{"MULTI_FACTOR_AUTH_ENABLE", "MULTI_FACTOR_AUTH_DISABLE"})
		d["ip_address"] = "Unknown IP"
	default:
		g.administration(e, d)
	}
	d["event_type"] = e.kind
	e.document = d
	return e
}

// stored notes when the product had processed an event, which closes it.
func (g *generator) stored(e *event, at time.Time) {
	e.document["recorded_at"] = g.written(at)
	e.json = saassim.Raw(e.document)
	if name, ok := userEvents[e.kind]; ok {
		own := map[string]any{}
		for k, v := range e.document {
			own[k] = v
		}
		own["event_type"], own["event_id"] = name, strings.ReplaceAll(e.id, "-", "") // an id of another kind
		e.forItself = saassim.Raw(own)
	}
}

func (g *generator) written(t time.Time) string {
	return t.In(g.zone).Format("2006-01-02T15:04:05-07:00")
}

// userEvents are what a user's own feed calls the things that it has in common
// with the enterprise's.
var userEvents = map[string]string{
	"UPLOAD": "ITEM_UPLOAD", "DOWNLOAD": "ITEM_DOWNLOAD", "PREVIEW": "ITEM_PREVIEW", "RENAME": "ITEM_RENAME", "MOVE": "ITEM_MOVE",
	"COPY": "ITEM_COPY", "DELETE": "ITEM_TRASH", "UNDELETE": "ITEM_UNDELETE_VIA_TRASH", "SHARE": "ITEM_SHARED_CREATE", "UNSHARE": "ITEM_SHARED_UNSHARE",
}

func (g *generator) file(e *event, d map[string]any, by *account) {
	i := saassim.Pick(g.Dice, g.items)
	kinds := []string{"PREVIEW", "DOWNLOAD", "UPLOAD", "EDIT", "RENAME", "MOVE", "COPY", "DELETE", "UNDELETE", "SHARE", "UNSHARE", "CONTENT_ACCESS", "LOCK"}
	if i.kind == "folder" {
		kinds = []string{"RENAME", "MOVE", "DELETE", "UNDELETE", "SHARE", "UNSHARE", "CHANGE_FOLDER_PERMISSION"}
	}
	e.kind = saassim.Pick(g.Dice, kinds)
	d["source"] = g.itemSource(i)
	if details := g.itemDetails(i); details != nil {
		d["additional_details"] = details
	}
	if (e.kind == "DOWNLOAD" || e.kind == "PREVIEW") && g.Chance(0.1) { // through an open link
		d["created_by"], e.by = anonymous, "2"
	}
}

func (g *generator) signIn(e *event, d map[string]any, by *account) {
	switch n := g.IntN(10); {
	case n < 6:
		e.kind = "LOGIN"
	case n < 8:
		e.kind, d["created_by"], e.by = "FAILED_LOGIN", anonymous, "2"
	case n < 9:
		e.kind = "ADD_LOGIN_ACTIVITY_DEVICE"
	default:
		e.kind = "ADMIN_LOGIN"
		d["action_by"] = g.administrator().document()
	}
}

func (g *generator) sharing(e *event, d map[string]any, by *account) {
	i, with := saassim.Pick(g.Dice, g.items), saassim.Pick(g.Dice, g.users)
	source := sharedSource(i)
	details := map[string]any{
		"type": "box://event/additional_details/collaboration", "collab_id": "445" + g.Text(8, saassim.Digits),
		"is_performed_by_admin": by.admin, "version_id": "13" + g.Text(11, saassim.Digits),
	}
	e.kind = saassim.Pick(g.Dice, []string{"COLLABORATION_INVITE", "COLLABORATION_ACCEPT", "COLLABORATION_ROLE_CHANGE", "COLLABORATION_REMOVE"})
	if e.kind == "COLLABORATION_REMOVE" {
		source["user_email"] = with.Email
	} else {
		source["user_id"], source["user_name"] = with.id, with.Name()
		details["role"] = saassim.Pick(g.Dice, []string{"Editor", "Viewer", "Co-owner", "Uploader"})
		d["accessible_by"] = with.document()
	}
	d["source"], d["additional_details"] = source, details
}

func (g *generator) administrator() *account {
	for {
		if a := saassim.Pick(g.Dice, g.users); a.admin {
			return a
		}
	}
}

func (g *generator) administration(e *event, d map[string]any) {
	by, whom, group := g.administrator(), saassim.Pick(g.Dice, g.users), saassim.Pick(g.Dice, g.groups)
	d["created_by"], e.by, d["ip_address"] = by.document(), by.id, saassim.Pick(g.Dice, by.IPs)
	named := map[string]any{"group_id": group[0], "group_name": group[1]}
	e.kind = saassim.Pick(g.Dice, []string{"NEW_USER", "EDIT_USER", "DELETE_USER", "CHANGE_ADMIN_ROLE", "GROUP_CREATION", "GROUP_EDITED", "GROUP_DELETION",
		"GROUP_ADD_USER", "GROUP_REMOVE_USER", "ENTERPRISE_APP_AUTHORIZATION_UPDATE"})
	switch {
	case e.kind == "GROUP_ADD_USER" || e.kind == "GROUP_REMOVE_USER":
		d["source"], d["additional_details"] = whom.document(), named
	case strings.HasPrefix(e.kind, "GROUP_"):
		d["source"] = named
	case e.kind == "ENTERPRISE_APP_AUTHORIZATION_UPDATE":
		d["source"] = nil
		d["additional_details"] = map[string]any{"service_id": g.Text(7, saassim.Digits), "service_name": saassim.Pick(g.Dice, saassim.Words), "enterprise_id": fmt.Sprint(g.IntN(1e9))}
	default:
		d["source"] = whom.document()
	}
}

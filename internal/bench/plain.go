package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

const query = `query($first: Int!, $after: String) { auditLogEntries(first: $first, after: $after) {
  nodes { id action actionType requestId status timestamp duration actionParameters userAgent sourceIP sourceIPCountryCode clientType aiEngines aiAgentType
    performer { __typename id name } serviceAccount { id name } user { id name email } }
  pageInfo { hasNextPage endCursor } totalCount } }`

// plain is what one would write in an hour: sign in, follow the cursor, decode
// each page, encode it again.
func plain(base string) error {
	resp, err := http.PostForm(base+"/oauth/token", url.Values{
		"grant_type":    {"client_credentials"},
		"audience":      {wiz.DefaultAudience},
		"client_id":     {wiz.DefaultClientID},
		"client_secret": {wiz.DefaultClientSecret},
	})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(resp.Body).Decode(&token)
	resp.Body.Close()
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	var after any
	for {
		body, err := json.Marshal(map[string]any{"query": query, "variables": map[string]any{"first": 500, "after": after}})
		if err != nil {
			return fmt.Errorf("ask for page: %w", err)
		}
		req, err := http.NewRequest(http.MethodPost, base+"/graphql", bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("ask for page: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("ask for page: %w", err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		var answer struct {
			Data struct {
				AuditLogEntries struct {
					Nodes    []map[string]any
					PageInfo struct {
						HasNextPage bool
						EndCursor   string
					}
				}
			}
		}
		if err := json.Unmarshal(page, &answer); err != nil {
			return fmt.Errorf("decode page: %w", err)
		}
		entries := answer.Data.AuditLogEntries
		if len(entries.Nodes) == 0 {
			return fmt.Errorf("page without records: %.200s", page)
		}
		for _, record := range entries.Nodes {
			line, err := json.Marshal(record)
			if err != nil {
				return fmt.Errorf("encode record: %w", err)
			}
			if _, err := io.Discard.Write(line); err != nil {
				return err
			}
		}
		if !entries.PageInfo.HasNextPage {
			return nil
		}
		after = entries.PageInfo.EndCursor
	}
}

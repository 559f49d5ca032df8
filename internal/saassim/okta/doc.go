// Package okta simulates an Okta organization and its System Log.
//
// # What is imitated
//
//   - Two ways to sign in: an API token of the scheme SSWS, and a service app that
//     gets a token at POST /oauth2/v1/token by an assertion it signed (private key
//     JWT, RS or ES): key id, signature, iss, sub, aud (the endpoint or the
//     organization), exp at most an hour ahead, and a jti that was not used before
//     are checked. A token goes with its own scheme only. The scope okta.logs.read
//     is needed. Options.DPoP refuses apps that do not prove possession of a key.
//   - GET /api/v1/logs in its two modes. A bounded request, with until or
//     descending, goes by published, in order, and ends: its last page has no next
//     link. Polling, ascending without until, goes by the time of storage: its next
//     link is always there, also behind an empty page, and what is stored late
//     still appears, out of the order of published.
//   - since (a week by default, at most 180 days back), until, limit (100 by default,
//     at most 1000), sortOrder, after, filter with all operators but brackets, and q.
//     90 days of events.
//   - Link headers, one for each relation, self always.
//   - X-Rate-Limit-Limit, -Remaining and -Reset on every answer of the log; 120
//     requests a minute, then 429 without Retry-After.
//   - Errors of the form errorCode, errorSummary, errorLink, errorId, errorCauses,
//     with the codes and words of the documents.
//   - Events of about thirty types in the shapes of published samples: targets that
//     are null or empty, no place for private addresses, "unknown" names, an
//     external session that is null or "unknown" where signing in failed.
//
// # What is not imitated
//
//   - Everything else of the API, log streaming and event hooks among it; DPoP
//     itself; the limit of concurrent requests; the expiry of unused API tokens.
//   - Requests and failures of the client leave no events.
//
// # What the documents leave open, and what was chosen
//
//   - since is part of the window and until is not.
//   - A full page has a next link, though it may lead to an empty page.
//   - What the cursors are: in bounded mode the last event's uuid, as in the
//     documents' sample, in polling mode a time and a place. Both last; the fault
//     DeadCursor refuses one with 400. Where since stands beside after, after wins.
//   - How soon an event is stored: within three seconds (Options.Delay).
//   - How many of the organization's requests fall on others: none.
//   - Keywords are looked for in the whole event, as parts of words too.
package okta

// Package appomni simulates an AppOmni tenant and its audit log, by the API, by
// push and as a report.
//
// # What is imitated
//
//   - POST /oauth/token/ with grant_type=refresh_token, the refresh token, client
//     id and client secret. With Options.Rotate each answer has the next refresh
//     token and the one that was sent is dead, also when the answer never arrived
//     (the fault SignInLost); Options.Grace lets it live on for a while. An access
//     token that somebody made by hand lasts.
//   - GET /api/v1/core/auditlogs/ in the manner of Django's REST framework: limit
//     and offset, count, next, previous and results; since, before, action_type,
//     user, monitored_service and policy. next is a full URL, and the text "null"
//     where there is none, as in the documents' sample (or null, with
//     Options.NullNext). A limit that is too large is lowered without a word. The
//     newest row is first, so that rows arriving between two pages (the fault
//     Shift) push others onto the next page, unless before is given.
//   - GET /api/v1/core/auditlogs/action_types/, the catalogue of actions.
//   - A path without its last slash is answered by 301.
//   - X-RateLimit, "used/2000", on every answer of the API, and 429 once it is
//     spent, without a word on how long.
//   - Errors {"detail": "..."}, and for a bad parameter a list by its name.
//   - Rows with all keys, most of them null; microseconds and a Z, but no fraction
//     where there is none, as Python writes times. 180 days of them.
//   - Push (Tenant.Push): the same events, at once, as JSON lines or an array, with
//     log_id in place of identifier, org_id, +00:00, md_kind and md_version, and
//     without what is null; or with nulls and the service type "None", as pushes of
//     2023 have them. Bearer, basic or a signature; gzip. What is not answered by
//     200 is sent again, and with the fault Twice some of what is. What the fault
//     Lost strikes is never pushed.
//   - The scheduled report (Tenant.WriteReport) as CSV.
//
// # What is not imitated
//
//   - Introspection and revocation of tokens, findings, policies, insights.
//   - About a quarter of the keys of an event's data, whose names are not known.
//   - Detection events, which are pushed to the same destinations.
//
// # What the documents leave open, and what was chosen
//
//   - How long an access token lives: ten hours. A refresh token that does not
//     rotate is in the answer again.
//   - The largest page: 100 (Options.MaxPage); without a limit, 50.
//   - Whether since and before include their own instant: they do not, unless
//     Options.Inclusive.
//   - The span of the budget: an hour. What sign-ins cost: nothing.
//   - The words of a 401 and a 429: those of the framework.
//   - How pushes are framed, signed and repeated: see Destination. They keep the
//     order in which events become visible.
//   - The columns of the report: the fields of the API, those of the data with
//     "action_data." before them; times with a space and +00:00.
//   - A parameter that is not known is ignored, as is one that is no number.
package appomni

// Package box simulates a Box enterprise.
//
// # What is imitated
//
//   - The token endpoint, POST /oauth2/token: client credentials for the
//     application's service account or for a user, and a JWT that the
//     application signed with RS256, RS384 or RS512. Of a JWT everything is
//     checked: the key id and the signature, iss, sub, box_sub_type, aud, exp
//     (at most 60 seconds ahead of the server's clock, which the Date of the
//     answer shows and Options.ClockSkew moves), iat, nbf, and a jti of 16 to 128
//     characters that was not used before. Refusals are 400 with the words of the
//     documents. Tokens last an hour. An application that no administrator has
//     allowed gets none.
//   - GET /2.0/events. By default it is the feed of who asks, with kinds of event
//     of its own: leaving stream_type out, or misspelling it, is no error.
//     admin_logs and admin_logs_streaming need the scope and an administrator, or
//     the service account. event_type filters both; limit is 100 by default, and
//     500 at most.
//   - admin_logs: a year of events by created_at, in the window of created_after
//     and created_before. An event is indexed a minute or so after it happened
//     (Options.IndexDelay), some much later (the fault Late), behind windows that
//     have been read. A page without events has the next_stream_position 0, as
//     the vendor says is by design, and 0 is the beginning: who goes on from there
//     reads everything again.
//   - admin_logs_streaming: two weeks of events in the order of processing, which
//     is not that of created_at, some of them twice, 12 to 24 seconds after they
//     happened. Windows are ignored without a word. "now" is an empty page with the
//     present position; 0, or none, the oldest event there is. What comes in, comes
//     in behind every position that was given out. A position that was not used
//     for two weeks is refused. What the fault Lost strikes is never there.
//   - next_stream_position is a JSON number of 19 digits in one answer and a string
//     of digits in the next (Options.Positions); with Options.Wide it has 20 digits.
//   - A short page is not the end (the fault ShortPage).
//   - 1000 requests a minute for each user, then 429 rate_limit_exceeded with Retry-After; 503 with
//     Retry-After (the fault Unavailable) and without.
//   - Errors of the form type, status, code, message, context_info, help_url and
//     request_id.
//   - Events in the shapes of published samples: people, files, folders, groups and
//     collaborations as the source, id 2 for who is not signed in, "Unknown IP",
//     null sessions and details.
//
// # What is not imitated
//
//   - Everything else of the API, long polling and as-user among it.
//   - Shield, Sign, Relay and metadata events; about forty of the kinds of event
//     there are.
//   - The monthly quota of a plan.
//
// # What the documents leave open, and what was chosen
//
//   - Whether created_after and created_before include their own instant: they do
//     not, unless Options.Inclusive.
//   - What is wrong with a position that is too old, or none: 400 bad_request.
//     Positions of one stream are none of another.
//   - A limit above 500 is lowered; an unknown stream_type is refused.
//   - Times have whole seconds and one offset, -07:00, as in samples.
//   - Every event has recorded_at, which older samples lack: when it was processed.
//   - The feed of a user has some of the enterprise's events under the names and
//     ids of its own.
package box

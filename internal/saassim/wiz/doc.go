// Package wiz simulates a Wiz tenant.
//
// # What is imitated
//
//   - The token endpoint: POST of a form with client_credentials, client id and
//     secret, and the audience wiz-api; a JWT with the claims exp, dc and
//     encodedScopes (an unexplained bit mask); expires_in of a day.
//   - One address for everything, POST /graphql with JSON. Queries are parsed
//     and checked against a schema: unknown fields, arguments and enum values
//     are refused, variables are read as strictly as the specification of
//     GraphQL has it, and only the fields asked for come back, with aliases,
//     fragments, @skip and @include.
//   - auditLogEntries and auditLogEntry, issuesV2 and issue, serviceAccounts,
//     with all filters of the audit log and the main ones of issues; the pages
//     of Relay, at most 5000 entries or 500 issues; orderBy for issues and none
//     for the audit log.
//   - The audit log ends silently at 10,000 results of a query, and goes back
//     180 days.
//   - Scopes are checked for each query. The refusal has the words of a live
//     tenant's: it names the scopes that would do, read:all among them, and
//     those that the account has.
//   - Going too fast is answered by 429, with or without Retry-After, or by a
//     200 whose GraphQL error says so.
//   - Audit log entries in the shapes seen in samples: both performer and the
//     older user and serviceAccount, which are null once the account is gone;
//     addresses that are null for a quarter; fields that were added later null
//     in older entries; a sign-in whose request has its own id. An older
//     schema, put together from older samples, can be chosen in place of the
//     present one.
//   - Issues of every type with a life: opened, taken up, resolved, rejected,
//     reopened, and changes that leave statusChangedAt alone. It is null until
//     the status first changes. Queries see the present state only. Issues may be
//     gone without a trace, and come back as they were (RemoveIssues,
//     ReturnIssues).
//   - vulnerabilityFindings, configurationFindings, detections and
//     systemHealthIssues, each with the query for a single one, its main filters,
//     totalCount and, but for health issues, maxCountReached. Findings have lives
//     too: they change, are scanned again without a change (which moves
//     lastDetectedAt, analyzedAt or lastSeenAt and nothing else), are deleted, or
//     are gone without a trace (RemoveFindings).
//   - Vulnerable assets of eight of the fourteen types, with the fields that each
//     has of its own.
//   - Configuration findings end at 10,000 results of a query, of which
//     maxCountReached tells; deleted ones are hidden unless includeDeleted.
//   - Detections of both types: a filter that names none gets those that became a
//     threat, and no word of the others. createdAt and updatedAt are null for
//     some; some are of the past. Their events are paged on their own.
//   - Health issues, which cannot be asked for by time.
//   - Reports of the audit log, as CSV and JSON: createReport, rerunReport,
//     deleteReport, report and reports. A run goes from QUEUED over IN_PROGRESS to
//     COMPLETED, its file is not cut at any number of entries, and after a time
//     the run is EXPIRED and the file gone. The mutations need scopes of their own
//     and leave entries in the audit log, of which the file has those from before
//     the order.
//   - The address of a file, made anew each time it is told: signed in its query
//     as the usual object stores do it. It expires, takes no second credential,
//     and is refused with the store's XML and statuses.
//   - What goes wrong with reports: a run that fails, one that stays IN_PROGRESS,
//     addresses that have expired when they are told, a rerun of which the API
//     tells late, and connections that break in a file.
//
// # What is not imitated
//
//   - Everything else of the schema: an issue's evidence, remediation and
//     comment threads, the paged detections of a threat, revisions of findings,
//     exports, other mutations, introspection. Asking for it is refused as
//     unknown.
//   - Reports of other types and in other formats, on a schedule, incremental,
//     sent by mail or to a bucket; in the older schema, and of a static audit log,
//     there are none.
//   - The store of files is on the tenant's own address, not on another host.
//   - Filters of issues and findings that the schema files here do not list are
//     refused, not ignored.
//   - The scopes for what detections hold besides themselves. A detection's
//     issue is not among the issues of the tenant.
//   - TLS, and the address of the region that the dc claim names.
//   - Entries of the action types SCIM, SUBSCRIPTION and AI_AGENT_ACTIVITY: the
//     names of their actions are not known.
//
// # What the documents leave open, and what was chosen
//
//   - Whether after and before include their own instant: they do not, unless
//     Options.Inclusive. A time that is null lies in no window.
//   - The order of the audit log: newest first, or Options.Order. Of issues
//     without orderBy: those created last first. Nulls come last when ascending.
//   - What cursors hold: an offset, so that pages shift when records appear
//     before it, or with SnapshotCursors the result of the first page. A cursor
//     works for its own query only, whatever the page size.
//   - first is required, and one that is too large refused, as partners say of
//     the one and nobody of the other (Options.ClampPages).
//   - Whether totalCount saturates: it does not, unless Options.SaturateCount.
//   - HTTP statuses: 401 for a bad credential or token, 200 for a missing scope,
//     400 for a query that does not fit (each an option), 403 for a wrong
//     audience or grant. The codes in extensions are common ones; the real ones
//     are not written down, except that UNAUTHORIZED was seen with a refusal.
//   - A query of detections without any filter: it counts as one without a type.
//     A type at any depth of and and or is one.
//   - How many detections a query yields: all, unless Options.DetectionCap.
//   - Deleting a configuration finding moves updatedAt. A finding that has gone
//     is found by no query, not even by its id.
//   - A page of a detection's events: ten where nothing is said, a hundred at
//     most. A cursor of another detection leads to the end.
//   - exactCount and enforceTimestampContinuity change nothing.
//   - inLast and its like count from the tenant's clock; a month has 30 days.
//   - search finds parts of an entry's id and request id, userAgent parts of the
//     user agent; the other filters compare whole values.
//   - How long a report takes, how long its file and an address of it last
//     (Options). Which scope deleting a report needs: the one that running it
//     again does. Reports are listed with the latest first.
//   - The columns of a report as CSV, which nobody has written down: the names of
//     the schema's fields in words, a person and a program in columns of their
//     own; empty where the API has null. As JSON a report is a list of what the
//     API gives of each entry. The oldest entry comes first.
//   - A query's own audit log entry (Options.AuditReads) is named after the
//     query with a capital letter, as are most known actions.
package wiz

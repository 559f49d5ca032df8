// Package saassim simulates SaaS products well enough that a collector cannot
// tell the difference, and badly enough that it has to be a good one: the
// demo, the tests of the whole program and the benchmarks collect from it.
//
// It is written from the vendors' documents and schemas and from what others
// saw of the real services, never from what Trawl's own client sends.
//
// Each product is a package of its own below this one. Its documentation says
// what is imitated, what is not, and what was chosen where the documents leave
// something open. This package is what they share: a Tenant of any product with
// its faults, its request log, its tokens, its admin requests and its truth; a
// Call being answered; a Server; and people, times and records to make up. The
// command in cmd/saassim serves a tenant of any product.
//
// # Time
//
// The Clock of a tenant is its calendar: it decides which records are visible
// and what a retention or "the last hour" means. Tokens, rate limits, delays and
// the request log go by real time, whatever the calendar says.
//
// # Misbehaviour
//
// A Fault has a name, so that a test script and the command line can choose
// it, and strikes at random by a seed, each so many-th time, or the next so
// many times. Faults are independent of each other, and can be replaced while
// the tenant runs. See ParseFaults. What a product does by its documents, however
// odd, is no fault: it always does it.
package saassim

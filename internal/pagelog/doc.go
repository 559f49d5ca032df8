// Package pagelog is the log of pages: what collection writes and outputs
// read, kept in NATS JetStream. With no URL the NATS server runs inside this
// process, without a port, its files under Options.Dir and every write synced
// to disk; with a URL it is that cluster. The code behind is the same.
//
// # What is in the log
//
// The stream TRAWL holds pages. One page is one message on the subject
// pages.<connection>.<source>.<lane>: its body the raw records, its headers the
// slice, the position after the page, the counts and the 64-bit hashes of the
// records. A page and its position are therefore one atomic write. It is
// published with the sequence of the page before it on its subject, so that two
// writers cannot both go on from the same place, and it carries that sequence,
// so that a page missing from the middle is noticed by whoever reads past it.
//
// The body is one S2 block with its CRC-32C over the records, each behind its
// length as a uvarint. (The design says zstd, which takes six times as long to
// write for bodies a third smaller; and one record a line, but a pretty-printed
// record holds newlines, and its bytes are to stay as they were received.)
//
// A body larger than one message may be is cut into parts, published before
// the page on parts.<connection>.<source>.<lane>, and the page lists their
// sequences. A part that no page lists is never read, so the page stays the one
// atomic write.
//
// The bucket TRAWL_STATE (a stream laid out as NATS lays out key-value buckets,
// history 1) holds small entries, each written by compare-and-set: the state of
// feeds, the positions of readers, leases. Each entry also carries the highest
// page sequence its writer knew, which must still be there at the next start.
//
// Names in subjects and keys are escaped: a byte other than a letter, a digit,
// "-" or "_" becomes "=" and two hexadecimal digits.
//
// # Damage
//
// A log that lost something refuses to open, with a *DamagedError. For the
// embedded server the file log.json says that the log exists, how far it had
// come, and, after a clean stop, which files it left; block files are verified
// before the server is started, because the server repairs a damaged block by
// cutting it off at the damage. Deleting everything under Dir is a fresh start.
//
// # Time
//
// SeekTime, Trim and the age of a lease go by the server's clock, never by a
// client's. In a cluster the servers' clocks are assumed to agree within the
// margin of a lease (a sixth of its ttl). Where they do not, two workers may
// hold one lease for a moment, and the log itself refuses the pages of one.
//
// # Memory
//
// The end of an embedded log is kept in memory, for its readers and so that the
// server need not keep more: see tail.
package pagelog

// Package collect decides what to read next of a feed, reads it page by page
// and commits each page to the log together with the position behind it.
//
// A feed is read in rounds. A round of the live lane covers
// [watermark − overlap, now): it begins as one slice for each time field of
// the source and may be cut into more. The first slice of the list is read
// page by page; when a page shows that the slice cannot be read to its end
// (the product's cap, a total that is not reached, a cursor that goes round in
// circles) the slice is replaced by its two halves. A slice leaves the list
// only when it was read to its end, and the watermark is never later than the
// beginning of what is left. All of this is the [Position], a plain value that
// is written with every page, so that stopping at any moment costs nothing but
// the page in hand.
//
// The live lane of a source that has a stream follows an opaque position
// instead, and reads by time only up to where that begins; see [Stream].
//
// Records already in the log are told by a 64-bit hash of their id; those
// hashes are rebuilt from the log's headers when a feed is opened.
package collect

// Package emm is the SaaS Event Maturity Matrix: what a product's logs can tell
// of whom doing what. It holds the matrix's taxonomy, reads, checks and resolves
// folders in the layout of the matrix's public repository, and works out what is
// covered of it.
//
// A folder, as [Validate] and [Resolve] take it:
//
//	categories.yml, event_types.yml, attributes.yml    the taxonomy; the matrix's own where there is none
//	schema/NAME.yml                                    JSON Schemas; those of this package where there are none
//	products/P/*.yml                                   the product
//	products/P/event_sources/**/*.yml                  its event sources
//	products/P/event_examples/**/*.json                events that the event sources refer to
package emm

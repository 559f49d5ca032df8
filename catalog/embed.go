// Package catalogfiles holds the catalogue that Trawl comes with: a folder a
// product, with its samples under testdata.
package catalogfiles

import "embed"

// FS holds the product folders.
//
//go:embed */*.yaml */testdata
var FS embed.FS

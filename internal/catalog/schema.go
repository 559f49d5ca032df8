package catalog

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of product.yaml and of a source's file, for editors.
func Schema() []byte { return schema }

package config

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of trawl.yaml, for editors.
func Schema() []byte { return schema }

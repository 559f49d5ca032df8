package catalog

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed template
var template embed.FS

// CheckID says what is wrong with a name for a product, if something is.
func CheckID(product string) error {
	if !nameForm.MatchString(product) {
		return fmt.Errorf("%q can't be the name of a product; use lower-case letters, digits and _, with a letter first", product)
	}
	return nil
}

// Template is the folder of a product to begin with: its files by their paths
// within the folder. The samples have no expected documents yet. What is in it
// is the example of docs/catalog.md.
func Template(product string) (map[string]string, error) {
	first, size := utf8.DecodeRuneInString(product)
	title := string(unicode.ToUpper(first)) + product[size:]
	variable := strings.ToUpper(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '_'
	}, product))
	names := strings.NewReplacer("acme", product, "Acme", title, "ACME", variable)
	files := map[string]string{}
	const root = "template/acme"
	err := fs.WalkDir(template, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := template.ReadFile(path)
		files[strings.TrimPrefix(path, root+"/")] = names.Replace(string(text))
		return err
	})
	return files, err
}

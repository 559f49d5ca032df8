package strictyaml

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
)

// JSON gives a value made of the types that Decode fills as JSON with the keys
// of the yaml tags, in their order. Empty fields with omitempty are left out.
func JSON(v any) (json.RawMessage, error) { return appendJSON(nil, reflect.ValueOf(v)) }

func appendJSON(dst []byte, v reflect.Value) ([]byte, error) {
	if v.IsValid() && v.Kind() != reflect.Pointer {
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			text, err := m.MarshalText()
			if err != nil {
				return nil, err
			}
			return appendLeaf(dst, string(text))
		}
	}
	switch v.Kind() {
	case reflect.Invalid:
		return append(dst, "null"...), nil
	case reflect.Pointer, reflect.Interface:
		return appendJSON(dst, v.Elem())
	case reflect.Struct:
		return appendStruct(dst, v)
	case reflect.Map:
		return appendMap(dst, v)
	case reflect.Slice:
		dst = append(dst, '[')
		for i := range v.Len() {
			var err error
			if dst, err = appendJSON(comma(dst, i), v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	}
	return appendLeaf(dst, v.Interface())
}

func appendStruct(dst []byte, v reflect.Value) ([]byte, error) {
	dst = append(dst, '{')
	n := 0
	for _, f := range Fields(v.Type()) {
		value := v.FieldByIndex(f.Index)
		if !f.Required && value.IsZero() {
			continue
		}
		var err error
		if dst, err = appendLeaf(comma(dst, n), f.Key); err != nil {
			return nil, err
		}
		if dst, err = appendJSON(append(dst, ':'), value); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Key, err)
		}
		n++
	}
	return append(dst, '}'), nil
}

func appendMap(dst []byte, v reflect.Value) ([]byte, error) {
	members := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		members[it.Key().String()] = it.Value()
	}
	dst = append(dst, '{')
	for i, key := range slices.Sorted(maps.Keys(members)) {
		var err error
		if dst, err = appendLeaf(comma(dst, i), key); err != nil {
			return nil, err
		}
		if dst, err = appendJSON(append(dst, ':'), members[key]); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return append(dst, '}'), nil
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendLeaf(dst []byte, v any) ([]byte, error) {
	text, err := jsonv2.Marshal(v, jsonv2.Deterministic(true)) // which leaves <, > and & as they are
	return append(dst, text...), err
}

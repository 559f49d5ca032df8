package wiz

import (
	"slices"
	"strings"
	"time"
)

// where turns a filter into what must all hold.
func (k *findingKind) where(m map[string]any, now time.Time, inclusive bool) ([]asked, error) {
	var where []asked
	if k.always != nil {
		where = k.always(m)
	}
	for _, name := range sortedKeys(m) {
		if m[name] == nil {
			continue
		}
		var ok asked
		var err error
		if read := k.filters[name]; read != nil {
			ok, err = read(m[name], now, inclusive)
		} else {
			ok, err = k.combined(name, m[name], now, inclusive)
		}
		if err != nil {
			return nil, err
		}
		where = append(where, ok)
	}
	return where, nil
}

// combined reads and, or, and filters that change nothing here.
func (k *findingKind) combined(name string, v any, now time.Time, inclusive bool) (asked, error) {
	var all [][]asked
	list, _ := v.([]any)
	for _, item := range list {
		inner, _ := item.(map[string]any)
		plain := *k
		plain.always = nil // the default is that of the query as a whole
		where, err := plain.where(inner, now, inclusive)
		if err != nil {
			return nil, err
		}
		all = append(all, where)
	}
	holds := func(t thing) func([]asked) bool {
		return func(where []asked) bool {
			return !slices.ContainsFunc(where, func(ok asked) bool { return !ok(t) })
		}
	}
	switch name {
	case "or":
		return func(t thing) bool { return slices.ContainsFunc(all, holds(t)) }, nil
	case "and":
		return func(t thing) bool {
			return !slices.ContainsFunc(all, func(where []asked) bool { return !holds(t)(where) })
		}, nil
	}
	return func(thing) bool { return true }, nil
}

// inField is the value at names joined by dots.
func inField(t thing, path string) any {
	for {
		name, rest, more := strings.Cut(path, ".")
		if !more {
			return t[name]
		}
		inner, ok := t[name].(thing)
		if !ok {
			return nil
		}
		t, path = inner, rest
	}
}

// timed reads a date filter. A time that is null lies in no window.
func timed(path string) finder {
	return func(v any, now time.Time, inclusive bool) (asked, error) {
		d, err := readWindow(v, now, inclusive)
		if err != nil {
			return nil, err
		}
		return func(t thing) bool {
			at, ok := inField(t, path).(time.Time)
			return ok && d.Has(at)
		}, nil
	}
}

// oneOf reads a list of values.
func oneOf(path string) finder {
	return func(v any, _ time.Time, _ bool) (asked, error) {
		want := texts(v)
		return func(t thing) bool {
			s, _ := inField(t, path).(string)
			return slices.Contains(want, s)
		}, nil
	}
}

// flag reads true or false; null is false.
func flag(path string) finder {
	return func(v any, _ time.Time, _ bool) (asked, error) {
		want, _ := v.(bool)
		return func(t thing) bool {
			is, _ := inField(t, path).(bool)
			return is == want
		}, nil
	}
}

// equals reads lists of values that are wanted and not wanted.
func equals(path string) finder {
	return func(v any, _ time.Time, _ bool) (asked, error) {
		m, _ := v.(map[string]any)
		want, not := texts(m["equals"]), texts(m["notEquals"])
		return func(t thing) bool {
			s, _ := inField(t, path).(string)
			return (m["equals"] == nil || slices.Contains(want, s)) && !slices.Contains(not, s)
		}, nil
	}
}

// members reads an object of filters of an inner object.
func members(of map[string]finder) finder {
	return func(v any, now time.Time, inclusive bool) (asked, error) {
		m, _ := v.(map[string]any)
		var where []asked
		for _, name := range sortedKeys(m) {
			if read := of[name]; read != nil && m[name] != nil {
				ok, err := read(m[name], now, inclusive)
				if err != nil {
					return nil, err
				}
				where = append(where, ok)
			}
		}
		return func(t thing) bool { return !slices.ContainsFunc(where, func(ok asked) bool { return !ok(t) }) }, nil
	}
}

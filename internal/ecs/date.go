package ecs

import (
	"strconv"
	"time"
)

// parseTime reads a time: RFC 3339 with any number of digits in the fraction,
// also with a space for the T or before the zone, without seconds, without a zone
// (which is UTC then), and a date alone; or a number of seconds, milliseconds, microseconds
// or nanoseconds since 1970, told apart by their size, from 1973 on. The result
// is in UTC and within the years 0 to 9999.
func parseTime(text []byte) (time.Time, bool) {
	if len(text) < 10 || text[4] != '-' {
		return parseEpoch(text)
	}
	c := clock{text: text, ok: true}
	year := c.digits(4)
	c.one("-")
	month := c.digits(2)
	c.one("-")
	day := c.digits(2)
	var hour, minute, second, nano, offset int
	if len(c.text) > 0 {
		c.one("Tt ")
		hour = c.digits(2)
		c.one(":")
		minute = c.digits(2)
		if c.has(":") {
			second = c.digits(2)
			if c.has(".,") {
				nano = c.fraction()
			}
		}
		offset = c.zone()
	}
	if !c.ok || len(c.text) > 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second-offset, nano, time.UTC)
	return t, t.Year() >= 0 && t.Year() <= 9999
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// clock reads a time from left to right. ok becomes false where it does not go on.
type clock struct {
	text []byte
	ok   bool
}

func (c *clock) digits(n int) int {
	if len(c.text) < n {
		c.ok = false
		return 0
	}
	value := 0
	for _, d := range c.text[:n] {
		if d < '0' || d > '9' {
			c.ok = false
			return 0
		}
		value = value*10 + int(d-'0')
	}
	c.text = c.text[n:]
	return value
}

// has steps over one of some characters.
func (c *clock) has(any string) bool {
	if len(c.text) > 0 {
		for i := range len(any) {
			if c.text[0] == any[i] {
				c.text = c.text[1:]
				return true
			}
		}
	}
	return false
}

func (c *clock) one(any string) {
	if !c.has(any) {
		c.ok = false
	}
}

// fraction reads the digits of a second's fraction, in nanoseconds. What is
// below those is dropped.
func (c *clock) fraction() int {
	nano, unit := 0, 100_000_000
	n := 0
	for n < len(c.text) && '0' <= c.text[n] && c.text[n] <= '9' {
		nano += int(c.text[n]-'0') * unit
		unit /= 10
		n++
	}
	if n == 0 {
		c.ok = false
	}
	c.text = c.text[n:]
	return nano
}

// zone reads Z, UTC, GMT, +hh:mm, +hhmm, +hh, each also behind a space, or
// nothing, as seconds east of UTC.
func (c *clock) zone() int {
	if len(c.text) == 0 {
		return 0
	}
	c.has(" ")
	if c.has("Zz") {
		return 0
	}
	if name := string(c.text); name == "UTC" || name == "GMT" {
		c.text = nil
		return 0
	}
	sign := 1
	if c.has("-") {
		sign = -1
	} else {
		c.one("+")
	}
	hours, minutes := c.digits(2), 0
	if c.has(":") || len(c.text) > 0 {
		minutes = c.digits(2)
	}
	if hours > 23 || minutes > 59 {
		c.ok = false
	}
	return sign * (hours*3600 + minutes*60)
}

func parseEpoch(text []byte) (time.Time, bool) {
	whole, fraction := text, []byte(nil)
	for i, c := range text {
		if c == '.' {
			whole, fraction = text[:i], text[i+1:]
			break
		}
	}
	if len(whole) < 9 || len(whole) > 19 || whole[0] == '-' || whole[0] == '+' {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	nano := 0
	if fraction != nil {
		c := clock{text: fraction, ok: true}
		if nano = c.fraction(); !c.ok || len(c.text) > 0 {
			return time.Time{}, false
		}
	}
	switch {
	case n < 1e11:
		return time.Unix(n, int64(nano)).UTC(), true
	case n < 1e14:
		return time.UnixMilli(n).Add(time.Duration(nano / 1e3)).UTC(), true
	case n < 1e17:
		return time.UnixMicro(n).UTC(), true
	}
	return time.Unix(0, n).UTC(), true
}

// appendTime appends a time as documents hold it, in quotes: UTC with
// microseconds.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, '"')
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, 'Z', '"')
}

func appendDigits(dst []byte, value, width int) []byte {
	var digits [20]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + value%10)
		value /= 10
	}
	return append(dst, digits[:width]...)
}

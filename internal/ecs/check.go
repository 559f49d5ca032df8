package ecs

import (
	"bytes"
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// wholeNumber returns the digits of a whole number that 64 bits can hold. A
// fraction of zeros is dropped.
func wholeNumber(text []byte) ([]byte, bool) {
	if !isNumber(text) {
		return nil, false
	}
	if whole, fraction, found := bytes.Cut(text, []byte(".")); found {
		if len(bytes.Trim(fraction, "0")) > 0 {
			return nil, false
		}
		text = whole
	}
	if len(text) > 18 {
		if _, err := strconv.ParseInt(string(text), 10, 64); err != nil {
			return nil, false
		}
	} else if bytes.ContainsAny(text, "eE") {
		return nil, false
	}
	return text, true
}

// isNumber tells whether text is a JSON number that a float64 can come near.
func isNumber(text []byte) bool {
	digits := bytes.TrimPrefix(text, []byte("-"))
	rest := bytes.TrimLeft(digits, "0123456789")
	if n := len(digits) - len(rest); n == 0 || n > 1 && digits[0] == '0' {
		return false
	}
	if len(rest) == 0 && len(digits) <= 300 {
		return true
	}
	if after, ok := bytes.CutPrefix(rest, []byte(".")); ok {
		rest = bytes.TrimLeft(after, "0123456789")
		if len(rest) == len(after) {
			return false
		}
	}
	if len(rest) > 0 {
		if rest[0] != 'e' && rest[0] != 'E' {
			return false
		}
		exponent := rest[1:]
		if len(exponent) > 0 && (exponent[0] == '+' || exponent[0] == '-') {
			exponent = exponent[1:]
		}
		if len(exponent) == 0 || len(bytes.TrimLeft(exponent, "0123456789")) > 0 {
			return false
		}
	}
	_, err := strconv.ParseFloat(string(text), 64)
	return err == nil
}

// isIPv4 tells whether text is an IPv4 address.
func isIPv4(text []byte) bool {
	if len(text) > 15 {
		return false
	}
	dots, digits, value := 0, 0, 0
	for _, c := range text {
		switch {
		case c == '.' && digits > 0 && dots < 3:
			dots++
			digits, value = 0, 0
		case '0' <= c && c <= '9' && (digits == 0 || value > 0):
			digits++
			if value = value*10 + int(c-'0'); value > 255 {
				return false
			}
		default:
			return false
		}
	}
	return dots == 3 && digits > 0
}

// addressIn reads an address that may have a port, or others behind it, as
// those of proxies stand behind a client's: 198.51.100.7:443, [2001:db8::1]:443,
// 198.51.100.7, 203.0.113.9.
func addressIn(text []byte) (netip.Addr, bool) {
	text, _, _ = bytes.Cut(text, []byte(","))
	text = bytes.TrimSpace(text)
	if addr, ok := parseIP(text); ok || len(text) > 53 {
		return addr, ok
	}
	if bytes.HasPrefix(text, []byte("[")) && bytes.HasSuffix(text, []byte("]")) {
		return parseIP(text[1 : len(text)-1])
	}
	port, err := netip.ParseAddrPort(string(text))
	return port.Addr().Unmap(), err == nil && port.Addr().Zone() == ""
}

// parseIP reads an address without a zone. One that maps IPv4 into IPv6 is IPv4.
func parseIP(text []byte) (netip.Addr, bool) {
	if len(text) > 45 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(string(text))
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

// isEmail tells whether text looks like one e-mail address and nothing else.
func isEmail(text []byte) bool {
	local, domain, found := bytes.Cut(text, []byte("@"))
	if !found || len(local) == 0 || len(local) > 64 || len(domain) < 3 || len(domain) > 253 ||
		domain[0] == '.' || domain[len(domain)-1] == '.' || bytes.IndexByte(domain, '.') < 0 {
		return false
	}
	for _, c := range text {
		if notInEmail[c] {
			return false
		}
	}
	return bytes.IndexByte(domain, '@') < 0
}

var notInEmail = func() (not [256]bool) {
	for c := range byte(' ' + 1) {
		not[c] = true
	}
	for _, c := range []byte("<>()[],;:\"\\\x7f") {
		not[c] = true
	}
	return not
}()

// hostName returns the host in a host name, a host:port or a URL. An IP address
// is none.
func hostName(text []byte) ([]byte, bool) {
	if i := bytes.Index(text, []byte("://")); i > 0 {
		text = text[i+3:]
	}
	if i := bytes.IndexAny(text, "/?#"); i >= 0 {
		text = text[:i]
	}
	text = text[bytes.LastIndexByte(text, '@')+1:]
	if host, port, found := bytes.Cut(text, []byte(":")); found && len(port) > 0 && len(bytes.TrimLeft(port, "0123456789")) == 0 {
		text = host
	}
	text = bytes.TrimSuffix(text, []byte("."))
	if len(text) == 0 || len(text) > 253 {
		return nil, false
	}
	if _, isIP := parseIP(text); isIP {
		return nil, false
	}
	label := 0
	for _, c := range text {
		switch {
		case c == '.':
			if label == 0 {
				return nil, false
			}
			label = 0
			continue
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '*', c >= utf8.RuneSelf:
		default:
			return nil, false
		}
		if label++; label > 63 {
			return nil, false
		}
	}
	return text, label > 0
}

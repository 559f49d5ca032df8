//go:build race

package collect

// underRace is whether the race detector slows the tests down several times.
const underRace = true

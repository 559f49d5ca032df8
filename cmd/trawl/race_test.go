//go:build race

package main

// underRace is whether the race detector slows the tests down several times.
const underRace = true

//go:build !unobserved

package engine

// observing tells whether what is collected is observed. It always is, but in
// the program that internal/bench builds to see what that costs.
const observing = true

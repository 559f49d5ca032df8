//go:build unobserved

package engine

const observing = false

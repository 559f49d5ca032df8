//go:build race

package ecs_test

// The race detector makes pools forget what they hold, which costs allocations.
const poolsForget = true

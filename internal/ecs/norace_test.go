//go:build !race

package ecs_test

const poolsForget = false

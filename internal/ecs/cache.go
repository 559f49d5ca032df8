package ecs

import "sync"

// cache holds the values of about as many texts as it may, the lately used. It
// keeps two generations: when the young one is full it becomes the old one, and
// what is asked for among the old comes back to the young.
type cache[V any] struct {
	limit int // of a generation

	mu         sync.RWMutex
	young, old map[string]V
}

func newCache[V any](limit int) *cache[V] {
	return &cache[V]{limit: limit, young: map[string]V{}}
}

func (c *cache[V]) get(text []byte) (V, bool) {
	c.mu.RLock()
	v, ok := c.young[string(text)]
	if ok {
		c.mu.RUnlock()
		return v, true
	}
	v, ok = c.old[string(text)]
	c.mu.RUnlock()
	if ok {
		c.put(text, v)
	}
	return v, ok
}

func (c *cache[V]) put(text []byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.limit {
		c.young, c.old = make(map[string]V, c.limit), c.young
	}
	c.young[string(text)] = v
}

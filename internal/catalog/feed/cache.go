package feed

import (
	"container/list"
	"sync"
)

// cache keeps pages that were written, the ones used last, within a bound of
// bytes. Several that ask for a page at once wait for one that is written.
type cache struct {
	most int64

	mu    sync.Mutex
	size  int64
	order list.List // of *written, the one used last in front
	byKey map[string]*list.Element
}

type written struct {
	key  string
	once sync.Once
	body []byte
	err  error
}

func newCache(most int64) *cache { return &cache{most: most, byKey: map[string]*list.Element{}} }

func (c *cache) get(key string, write func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	at := c.byKey[key]
	if at == nil {
		at = c.order.PushFront(&written{key: key})
		c.byKey[key] = at
	} else {
		c.order.MoveToFront(at)
	}
	w := at.Value.(*written)
	c.mu.Unlock()
	w.once.Do(func() {
		body, err := write()
		c.settle(at, body, err)
	})
	return w.body, w.err
}

// settle counts what was written, and lets go of what is too much.
func (c *cache) settle(at *list.Element, body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := at.Value.(*written)
	if w.body, w.err = body, err; err != nil {
		c.drop(at)
		return
	}
	c.size += int64(len(w.body))
	for e := c.order.Back(); e != nil && c.size > c.most; {
		before := e.Prev()
		if v := e.Value.(*written); len(v.body) > 0 || v == w { // not one that is being written
			c.drop(e)
		}
		e = before
	}
}

func (c *cache) drop(at *list.Element) {
	w := c.order.Remove(at).(*written)
	delete(c.byKey, w.key)
	c.size -= int64(len(w.body))
}

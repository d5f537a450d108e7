package basemap

import (
	"container/list"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/traffic"
)

// Bounds of what is kept.
const (
	keptTiles = 2000             // some kilobytes each
	keptNets  = 16               // one for each sort of caller
	freshFor  = 15 * time.Second // a net is drawn so long before roads are asked for again
)

// Config is what a server of tiles needs. All fields must be set.
type Config struct {
	// Links returns the roads that the caller may see. Scope names whose they are:
	// callers of one scope are given the same tiles.
	Links func(*http.Request) []traffic.LinkView
	Scope func(*http.Request) string
	Clock func() time.Time
}

// Server serves /{z}/{x}/{y}, with .png behind the last.
type Server struct {
	Config
	mu    sync.Mutex
	nets  map[string]*kept
	tiles map[tileKey]*list.Element
	order list.List // of *drawn, the most recently used first
}

type kept struct {
	*Net
	at time.Time
}

type tileKey struct {
	version uint64
	z, x, y int
}

type drawn struct {
	tileKey
	png  []byte
	etag string
}

// New returns a server.
func New(c Config) *Server {
	return &Server{Config: c, nets: map[string]*kept{}, tiles: map[tileKey]*list.Element{}}
}

// ServeHTTP implements [http.Handler]: 404 for what is no tile, or beyond the zooms.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, isPNG := strings.CutSuffix(r.PathValue("y"), ".png")
	z, errZ := strconv.Atoi(r.PathValue("z"))
	x, errX := strconv.Atoi(r.PathValue("x"))
	y, errY := strconv.Atoi(name)
	if !isPNG || errZ != nil || errX != nil || errY != nil {
		http.NotFound(w, r)
		return
	}
	t := s.tile(s.net(r), z, x, y)
	if t == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("ETag", t.etag)
	h.Set("Cache-Control", "private, max-age=60")
	h.Set("Vary", "Authorization, Cookie")
	if strings.Contains(r.Header.Get("If-None-Match"), t.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "image/png")
	w.Write(t.png) //nolint:errcheck // the caller is gone
}

// net is the road net that a caller may see, at most freshFor old.
func (s *Server) net(r *http.Request) *Net {
	scope, now := s.Scope(r), s.Clock()
	s.mu.Lock()
	k := s.nets[scope]
	s.mu.Unlock()
	if k != nil && now.Sub(k.at) < freshFor {
		return k.Net
	}
	k = &kept{NewNet(s.Links(r)), now}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nets) >= keptNets && s.nets[scope] == nil {
		clear(s.nets)
	}
	s.nets[scope] = k
	return k.Net
}

// tile is one as it was drawn before, or is drawn now; nil beyond the bounds.
func (s *Server) tile(n *Net, z, x, y int) *drawn {
	key := tileKey{n.Version, z, x, y}
	s.mu.Lock()
	if e := s.tiles[key]; e != nil {
		s.order.MoveToFront(e)
		s.mu.Unlock()
		return e.Value.(*drawn)
	}
	s.mu.Unlock()
	text, ok := n.Draw(z, x, y)
	if !ok {
		return nil
	}
	h := fnv.New64a()
	h.Write(text) //nolint:errcheck // a hash takes everything
	t := &drawn{key, text, `"` + strconv.FormatUint(h.Sum64(), 36) + `"`}
	s.keep(t)
	return t
}

// keep holds a tile, and forgets those that were not asked for longest.
func (s *Server) keep(t *drawn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tiles[t.tileKey] == nil {
		s.tiles[t.tileKey] = s.order.PushFront(t)
	}
	for s.order.Len() > keptTiles {
		oldest := s.order.Back()
		delete(s.tiles, oldest.Value.(*drawn).tileKey)
		s.order.Remove(oldest)
	}
}

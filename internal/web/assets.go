package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// assets serves the embedded files under addresses that change with their
// content, so that browsers may keep them for good.
type assets struct {
	content map[string][]byte // by name
	tag     map[string]string
}

func newAssets(files fs.FS) (*assets, error) {
	a := &assets{map[string][]byte{}, map[string]string{}}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return nil, fmt.Errorf("read embedded files: %w", err)
	}
	for _, e := range entries {
		text, err := fs.ReadFile(files, "static/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("read embedded file %s: %w", e.Name(), err)
		}
		sum := sha256.Sum256(text)
		a.content[e.Name()], a.tag[e.Name()] = text, hex.EncodeToString(sum[:6])
	}
	return a, nil
}

// url returns the address of a file; templates fail on a file that is not there.
func (a *assets) url(name string) (string, error) {
	tag, ok := a.tag[name]
	if !ok {
		return "", fmt.Errorf("no embedded file %q", name)
	}
	return "/static/" + name + "?" + tag, nil
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/static/")
	text, ok := a.content[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"`+a.tag[name]+`"`)
	if r.URL.RawQuery == a.tag[name] {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
}

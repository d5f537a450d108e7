package hub

import (
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/backup"
)

// saved copies a running hub as of a time, as `hub backup` does.
func (o *old) saved(repo *backup.Repository, at time.Time, memory string) backup.Point {
	o.t.Helper()
	var f api.Frozen
	if code, text := o.do(http.MethodPost, "/api/v1/freezes", "", "", nil); code != http.StatusCreated || json.Unmarshal(text, &f) != nil {
		o.t.Fatalf("%d %s", code, text)
	}
	done, err := repo.Write(o.t.Context(), backup.Plan{At: at, Counts: f.Counts, Sources: []backup.Source{{Root: f.Data}}, Memory: memory})
	if err != nil {
		o.t.Fatal(err)
	}
	if code, text := o.do(http.MethodDelete, "/api/v1/freezes/"+f.ID, "", "", nil); code != http.StatusNoContent {
		o.t.Fatalf("%d %s", code, text)
	}
	return done.Point
}

// TestARestoreIsTheHubAsItWasThen: samples, devices, commands, leases, datasets and the
// record of changes are those of the moment of the backup: all of before, nothing of
// after.
func TestARestoreIsTheHubAsItWasThen(t *testing.T) {
	h := whole(t, t.TempDir())
	p := &past{Secrets: map[string]string{}, Tokens: map[string]string{}}
	o := &old{t: t, base: h.at.HTTP, admin: h.admin(t), past: p}
	dir := t.TempDir()
	place, err := backup.OpenDirectory(filepath.Join(dir, "place"))
	if err != nil {
		t.Fatal(err)
	}
	repo, err := backup.Create(t.Context(), place, nil)
	if err != nil {
		t.Fatal(err)
	}
	now, memory := time.Now(), filepath.Join(dir, "memory")
	o.live(history)
	o.cancel("taken back")
	o.ask()
	first := *p
	o.saved(repo, now, memory)

	first.Secrets, first.Tokens = maps.Clone(p.Secrets), maps.Clone(p.Tokens)
	o.live(more)
	o.ask()
	o.saved(repo, now.Add(time.Hour), memory)
	o.live([]step{
		{method: "DELETE", path: "/api/v1/devices/t2"},
		{method: "PUT", path: "/api/v1/sites/plant-a", body: `{"names": {"zh": "水厂乙", "en": "Plant B"}, "region": "220102"}`},
	})
	h.end(t)

	for _, c := range []struct {
		until time.Time
		then  *past
		has   bool // what came between the two
	}{{now.Add(time.Minute), &first, false}, {time.Time{}, p, true}} {
		point, err := repo.Newest(t.Context(), c.until)
		if err != nil {
			t.Fatal(err)
		}
		back := filepath.Join(t.TempDir(), "back")
		if _, err := repo.Restore(t.Context(), backup.Restoration{Point: point, Into: map[string]string{"": back}}); err != nil {
			t.Fatal(err)
		}
		// The journal of roads is no part of a backup, and the administrator's token is new;
		// those of others are used below.
		delete(c.then.Answers, "/api/v1/roads/units")
		delete(c.then.Answers, "/api/v1/tokens")
		c.then.sound(t, back)
		h := c.then.open(t, back)
		c.then.Tokens["admin"] = h.admin(t)
		c.then.holds(t, h)
		for path, was := range c.then.Answers {
			_, text := h.ask(t, c.then.Tokens["admin"], http.MethodGet, path, nil)
			var before, now any
			if json.Unmarshal(was, &before) != nil || json.Unmarshal([]byte(text), &now) != nil {
				continue // a file, which holds has compared
			}
			for _, extra := range lacks(path, now, before) {
				// The record has the backup itself, and the new token.
				if !strings.Contains(extra, "action:hub.backup") && !strings.Contains(extra, "object:token admin") {
					t.Errorf("until %s: of after: %s", c.until, extra)
				}
			}
		}
		if got := h.values(t, `last_over_time(level{device="t3"}[1h])`) == 1; got != c.has {
			t.Errorf("until %s: the sample of t3 is there: %v", c.until, got)
		}
		if got := strings.Contains(h.post(t, "t3", p.Secrets["t3"], `{"level": 1}`), `"accepted":1`); got != c.has {
			t.Errorf("until %s: t3 reports: %v", c.until, got)
		}
		c.then.goesOn(t, h)
		h.end(t)
	}
}

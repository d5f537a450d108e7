package rules

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// lookEvery is the time between looks at rules.dir.
const lookEvery = 5 * time.Second

// ShippedDir is where shipped files seem to lie.
const ShippedDir = "songhua"

// file is a rule file as it was last seen.
type file struct {
	size     int64
	modified time.Time
	groups   []Group // as last read without a fault
	wrong    string  // what is wrong with it now; empty: nothing
}

// sync takes the files over as they are, where any changed.
func (e *Engine) sync() {
	e.loading.Lock()
	defer e.loading.Unlock()
	changed, there := !e.loaded, map[string]bool{}
	for _, from := range []struct {
		fs      fs.FS
		shipped bool
	}{{e.deps.Shipped, true}, {e.deps.Dir, false}} {
		if from.fs == nil {
			continue
		}
		err := fs.WalkDir(from.fs, ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && strings.HasPrefix(name, ".") && name != ".":
				return fs.SkipDir
			case d.IsDir() || !IsRuleFile(name):
				return nil
			}
			as := name
			if from.shipped {
				as = path.Join(ShippedDir, name)
			}
			there[as] = true
			changed = e.look(from.fs, name, as, from.shipped) || changed
			return nil
		})
		if err != nil { // a folder that is away for a moment takes no rules away
			e.say("", fmt.Sprintf("rules.dir cannot be read: %v", err))
			for as := range e.files {
				there[as] = true
			}
			continue
		}
		e.say("", "")
	}
	for as := range e.files {
		if as != "" && !there[as] {
			delete(e.files, as)
			changed = true
		}
	}
	if !changed {
		return
	}
	e.loaded = true
	var all []Group
	for _, as := range slices.Sorted(maps.Keys(e.files)) {
		all = append(all, e.files[as].groups...)
	}
	if len(all) > MaxGroups {
		e.say("", fmt.Sprintf("there are %d groups of rules, and %d are the most; the last are left out", len(all), MaxGroups))
		all = all[:MaxGroups]
	}
	e.replace(all)
}

// look reads a file that changed, and reports whether its groups did.
func (e *Engine) look(from fs.FS, name, as string, shipped bool) bool {
	f := e.files[as]
	info, err := fs.Stat(from, name)
	if err == nil && f != nil && f.size == info.Size() && f.modified.Equal(info.ModTime()) {
		return false
	}
	if f == nil {
		f = &file{}
		e.files[as] = f
	}
	var text []byte
	if err == nil {
		f.size, f.modified = info.Size(), info.ModTime()
		text, err = fs.ReadFile(from, name)
	}
	if err != nil {
		f.size = -1
		e.say(as, err.Error())
		return false
	}
	groups, faults := Parse(as, text, Defaults{Interval: e.cfg.Interval, Lateness: e.cfg.Lateness})
	if len(faults) == 0 {
		faults = e.taken(groups)
	}
	if len(faults) > 0 {
		e.say(as, strict.Join(faults).Error())
		return false
	}
	if shipped {
		groups = e.without(groups)
	}
	f.groups = groups
	e.say(as, "")
	return true
}

// taken faults rules that record what is the hub's own.
func (e *Engine) taken(groups []Group) (faults []strict.Error) {
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record == AlertsMetric || strings.HasPrefix(r.Record, OwnPrefix) || r.Record != "" && e.deps.Taken(r.Record) {
				faults = append(faults, strict.Error{Path: g.File, Msg: fmt.Sprintf("group %q records %q, which is a metric of the hub's own; give it another name", g.Name, r.Record)})
			}
		}
	}
	return faults
}

// without leaves out what rules.off names.
func (e *Engine) without(groups []Group) (all []Group) {
	for _, g := range groups {
		if slices.Contains(e.cfg.Off, g.Name) {
			continue
		}
		g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(r Rule) bool { return slices.Contains(e.cfg.Off, r.Name()) })
		if len(g.Rules) > 0 {
			all = append(all, g)
		}
	}
	return all
}

// say keeps what is wrong with a file, the folder as a whole where it is empty,
// and logs it once.
func (e *Engine) say(as, wrong string) {
	f := e.files[as]
	if f == nil {
		if wrong == "" {
			return
		}
		f = &file{}
		e.files[as] = f
	}
	if f.wrong == wrong {
		return
	}
	if f.wrong = wrong; wrong != "" {
		e.deps.Log.Error("rule_file_not_taken", "file", as, "error", wrong, "keeps", len(f.groups))
	} else {
		e.deps.Log.Info("rule_file_taken", "file", as, "groups", len(f.groups))
	}
}

// Faults say what is wrong with rule files, by file; of each the groups that were
// last read without a fault go on.
func (e *Engine) Faults() map[string]string {
	e.loading.Lock()
	defer e.loading.Unlock()
	all := map[string]string{}
	for as, f := range e.files {
		if f.wrong != "" {
			all[as] = f.wrong
		}
	}
	return all
}

package edge

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Origin is what of the config in use is the hub's: all else is of the file, or
// a default.
type Origin struct {
	// Version is that of the wanted configuration; 0 when there is none.
	Version int64
	// Keys are "sources.host.interval: 30s", null where the hub cleared one.
	Keys []string
	// Faults are why the agent does not use it with this file.
	Faults []strict.Error
}

// FromHub reads what the hub wanted last of the agent, and lays it over cfg as
// the agent will at its next start.
func FromHub(cfg Config) (Origin, error) {
	w, err := loadWanted(cfg)
	if err != nil || w.Version == 0 || !cfg.Remote.Enabled {
		return Origin{}, err
	}
	o := Origin{Version: w.Version, Keys: leaves(nil, "", w.Config)}
	_, o.Faults = overlay(cfg, w.Config)
	return o, nil
}

func leaves(all []string, path string, object map[string]any) []string {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at := under(path, key)
		switch v := object[key].(type) {
		case map[string]any:
			all = leaves(all, at, v)
		case string:
			all = append(all, at+": "+v)
		default:
			text, err := json.Marshal(v)
			if err != nil {
				panic(err) // it was read from JSON
			}
			all = append(all, fmt.Sprintf("%s: %s", at, text))
		}
	}
	return all
}

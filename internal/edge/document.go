package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/mergepatch"
)

// document is a config as JSON has it, every key there.
type document map[string]any

// documentOf writes a config down.
func documentOf(cfg Config) document {
	var text json.RawMessage
	faults := strict.Decode(strict.Annotate(&cfg, nil), &text)
	d, err := parseDocument(text)
	if len(faults) > 0 || err != nil {
		panic(fmt.Sprintf("a config does not read back: %v %v", faults, err)) // Annotate writes what Decode reads
	}
	return d
}

// idleDocument is the default config with one element of defaults in every list
// of sources.
func idleDocument() document {
	lists := map[string]any{}
	for _, k := range defaultSources().kinds(env{}) {
		if k.list {
			lists[k.name] = []any{map[string]any{}}
		}
	}
	cfg := DefaultConfig()
	strict.Decode(document{"sources": lists}.text(), &cfg) // what is missing in the elements is of no matter
	return documentOf(cfg)
}

func parseDocument(text []byte) (document, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v document
	err := d.Decode(&v)
	return v, err
}

func (d document) text() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return b
}

// at returns what stands at a key path; in lists it is that of the first
// element.
func (d document) at(pattern string) any {
	var v any = map[string]any(d)
	for key := range strings.SplitSeq(pattern, ".") {
		name, inList := strings.CutSuffix(key, "[]")
		object, _ := v.(map[string]any)
		v = object[name]
		if list, ok := v.([]any); inList && ok && len(list) > 0 {
			v = list[0]
		}
	}
	return v
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// overlay lays what the hub wants over a config, and lists everything that is
// wrong with the outcome: what cannot be read, does not agree, or is not the
// hub's to change.
func overlay(own Config, wanted document) (Config, []strict.Error) {
	merged := mergepatch.Apply(map[string]any(documentOf(own)), map[string]any(wanted)).(map[string]any)
	cfg := DefaultConfig()
	faults := strict.Decode(document(merged).text(), &cfg)
	for _, f := range overreach(own, cfg, own.Remote.Allow) {
		if !faulty(faults, f.Path) {
			faults = append(faults, f)
		}
	}
	return cfg, faults
}

func faulty(faults []strict.Error, path string) bool {
	for _, f := range faults {
		if f.Path == path {
			return true
		}
	}
	return false
}

// untold stands in what the hub is shown for what is not its to know.
const untold = "(kept on the device)"

// shown is what the hub is told of a config: the agent's own without secrets,
// and over it what the hub wants, as it wrote it.
func shown(own Config, wanted document) document {
	d := mergepatch.Apply(map[string]any(redacted(own)), map[string]any(wanted)).(map[string]any)
	cleared(d, wanted)
	return d
}

// cleared shows what the hub cleared as it wrote it, as null.
func cleared(d, wanted map[string]any) {
	for key, v := range wanted {
		if v == nil {
			d[key] = nil
		}
		if beneath, ok := v.(map[string]any); ok {
			cleared(d[key].(map[string]any), beneath)
		}
	}
}

func redacted(cfg Config) document {
	d, idle := documentOf(cfg), idleDocument()
	if link := d["uplink"].(map[string]any); link["secret"] != "" {
		link["secret"] = untold
	}
	gpu := d.at("sources.gpu").(map[string]any)
	gpu["dcgm"] = withoutUser(gpu["dcgm"])
	for pattern, r := range rights {
		list, key, inList := strings.Cut(pattern, "[].")
		if !inList {
			continue
		}
		elements, _ := d.at(list).([]any)
		for _, e := range elements {
			object := e.(map[string]any)
			switch secret := r == Credentials || strings.HasSuffix(pattern, ".env"); {
			case secret && !same(object[key], idle.at(pattern)):
				object[key] = untold
			case r == Connect:
				object[key] = withoutUser(object[key])
			}
		}
	}
	return d
}

// withoutUser takes the user and password out of a URL.
func withoutUser(v any) any {
	s, ok := v.(string)
	if !ok {
		return v
	}
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = url.User("kept-on-the-device")
		return u.String()
	}
	return v
}

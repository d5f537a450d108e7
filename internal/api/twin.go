package api

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/twin"
)

// TwinOut is both sides of a device's configuration.
type TwinOut struct {
	Device   string       `json:"device"`
	Standing string       `json:"standing" enum:"unmanaged,pending,refused,in_step,drifted"`
	Wanted   *WantedOut   `json:"wanted" doc:"null when nobody ever wanted anything of it"`
	Reported *ReportedOut `json:"reported" doc:"null until it reported"`
	Drift    []DriftOut   `json:"drift" doc:"where the device has something else than is wanted"`
}

// WantedOut is a version of what a device is to have.
type WantedOut struct {
	Version int64           `json:"version"`
	Config  json.RawMessage `json:"config" doc:"null where nothing is wanted any more"`
	Actor   string          `json:"actor"`
	At      time.Time       `json:"at"`
}

// ReportedOut is what a device says that it has.
type ReportedOut struct {
	Version int64           `json:"version" doc:"of what was wanted, as the device saw it"`
	Config  json.RawMessage `json:"config"`
	Errors  []twin.Fault    `json:"errors,omitempty" doc:"what it could not apply, by key path"`
	At      time.Time       `json:"at"`
}

// DriftOut is one difference.
type DriftOut struct {
	Path     string          `json:"path" doc:"JSON pointer"`
	Wanted   json.RawMessage `json:"wanted"`
	Reported json.RawMessage `json:"reported,omitempty" doc:"absent where the device has nothing"`
}

func showWanted(w twin.Wanted) *WantedOut {
	if w.Version == 0 {
		return nil
	}
	return &WantedOut{w.Version, orNull(w.Config), w.Actor, w.At}
}

func orNull(b json.RawMessage) json.RawMessage {
	if b == nil {
		return json.RawMessage("null")
	}
	return b
}

func showTwin(t twin.Twin) TwinOut {
	out := TwinOut{Device: t.Device, Standing: string(t.Standing), Wanted: showWanted(t.Wanted), Drift: []DriftOut{}}
	if !t.Reported.At.IsZero() {
		out.Reported = &ReportedOut{t.Reported.Version, t.Reported.Config, t.Reported.Faults, t.Reported.At}
	}
	for _, d := range t.Drift {
		out.Drift = append(out.Drift, DriftOut(d))
	}
	return out
}

type oneTwin struct {
	ETag string `header:"ETag"`
	Body TwinOut
}

func (a *API) getTwin(ctx context.Context, in *DeviceID) (*oneTwin, error) {
	if _, err := a.device(ctx, in.ID); err != nil {
		return nil, err
	}
	t, err := a.Twins.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneTwin{etag(t.Wanted.Version), showTwin(t)}, nil
}

type wantedIn struct {
	DeviceID
	Body json.RawMessage `contentType:"application/json"`
}

func (a *API) setWanted(ctx context.Context, in *wantedIn) (*oneTwin, error) {
	return a.want(ctx, &in.DeviceID, in.Body, func(json.RawMessage) json.RawMessage { return in.Body }, a.Twins.Set)
}

func (a *API) patchWanted(ctx context.Context, in *wantedIn) (*oneTwin, error) {
	return a.want(ctx, &in.DeviceID, in.Body, func(old json.RawMessage) json.RawMessage { return patched(old, in.Body) }, a.Twins.Patch)
}

func (a *API) clearWanted(ctx context.Context, in *DeviceID) (*oneTwin, error) {
	return a.want(ctx, in, nil, func(json.RawMessage) json.RawMessage { return nil }, a.Twins.Set)
}

// atOnce bounds how often a change is tried that others' changes came before.
const atOnce = 10

// want changes what is wanted of a device, under the version that the record
// says it had before; becomes makes of that what the record says it has then.
func (a *API) want(ctx context.Context, in *DeviceID, body json.RawMessage, becomes func(json.RawMessage) json.RawMessage,
	do func(context.Context, string, json.RawMessage, int64, string) (twin.Wanted, error)) (*oneTwin, error) {
	asked, err := in.version()
	if err != nil {
		return nil, err
	}
	d, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		before, err := a.Twins.Get(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		version := asked
		if asked == 0 {
			version = before.Wanted.Version
		}
		noted := a.noted(ctx, access.WriteTwins, "configuration of "+d.ID, d.Region, recordedConfig(before.Wanted.Config), recordedConfig(becomes(before.Wanted.Config)))
		_, err = do(noted, d.ID, body, version, access.CallerOf(ctx).Name)
		if asked == 0 && errors.Is(err, twin.ErrStale) && try < atOnce {
			continue
		}
		if err != nil {
			return nil, err
		}
		return a.getTwin(ctx, in)
	}
}

// patched is a configuration after a merge patch; what is no object of JSON is
// refused by its owner.
func patched(old, patch json.RawMessage) json.RawMessage {
	doc, change := map[string]any{}, map[string]any{}
	if old != nil && json.Unmarshal(old, &doc) != nil || json.Unmarshal(patch, &change) != nil {
		return patch
	}
	mergePatch(doc, change)
	return json.RawMessage(asJSON(doc))
}

// secretName matches the names of values that may be credentials.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|private|psk|communit|credential|api_?key|auth`)

// recordedConfig is what the record of changes holds of a configuration: a value
// whose name says that it may be a secret is left out. The whole stands with the
// configuration itself.
func recordedConfig(config json.RawMessage) any {
	var doc any
	if config == nil || json.Unmarshal(config, &doc) != nil {
		return nil
	}
	return unnamedSecrets(doc)
}

// unnamedSecrets leaves the values of suspicious names out, at any depth.
func unnamedSecrets(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if v[name] = unnamedSecrets(value); secretName.MatchString(name) && value != nil {
				v[name] = "(not recorded)"
			}
		}
	case []any:
		for i := range v {
			v[i] = unnamedSecrets(v[i])
		}
	}
	return v
}

func (a *API) listWanted(ctx context.Context, in *historyQuery) (*pageOut[WantedOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	if _, err := a.device(ctx, in.ID); err != nil {
		return nil, err
	}
	found, err := a.Twins.History(ctx, in.ID, before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[WantedOut](len(found))
	for _, w := range found {
		out.Body.Items = append(out.Body.Items, *showWanted(w))
	}
	if len(found) == in.Limit {
		out.Body.Next = cursor(strconv.FormatInt(found[len(found)-1].Version, 10))
	}
	return out, nil
}

type twinQuery struct {
	Paging
	Standing string `query:"standing" enum:"pending,refused,in_step,drifted"`
}

// twinSummary is a line of the list of twins.
type twinSummary struct {
	Device   string     `json:"device"`
	Standing string     `json:"standing"`
	Wanted   int64      `json:"wanted_version"`
	Reported int64      `json:"reported_version"`
	At       *time.Time `json:"reported_at"`
	Drift    int        `json:"drift" doc:"how many differences"`
	Errors   int        `json:"errors"`
}

// listTwins looks at up to ten pages of devices for one of the list, so that a
// rare standing costs several requests and not one long one.
func (a *API) listTwins(ctx context.Context, in *twinQuery) (*pageOut[twinSummary], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	out := newPage[twinSummary](in.Limit)
	ids, err := a.Twins.Devices(ctx, after, 10*in.Limit)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if len(out.Body.Items) == in.Limit {
			out.Body.Next = cursor(ids[i-1])
			return out, nil
		}
		if _, err := a.device(ctx, id); err != nil {
			continue // not of the caller's region
		}
		t, err := a.Twins.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if in.Standing == "" || in.Standing == string(t.Standing) {
			out.Body.Items = append(out.Body.Items, twinSummary{id, string(t.Standing), t.Wanted.Version, t.Reported.Version, moment(t.Reported.At), len(t.Drift), len(t.Reported.Faults)})
		}
	}
	if len(ids) == 10*in.Limit {
		out.Body.Next = cursor(ids[len(ids)-1])
	}
	return out, nil
}

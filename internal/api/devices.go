package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// DeviceIn is a device as people describe it.
type DeviceIn struct {
	ID      string            `json:"id" doc:"A-Z a-z 0-9 . _ : - up to 64"`
	Kind    string            `json:"kind,omitempty" doc:"sensor, rsu, node, gateway or meter; sensor when absent"`
	Site    string            `json:"site,omitempty"`
	Region  string            `json:"region,omitempty" doc:"six-digit division code (GB/T 2260)"`
	Tags    map[string]string `json:"tags,omitempty"`
	Period  string            `json:"period,omitempty" doc:"how often it reports, such as 60s"`
	Lat     *float64          `json:"lat,omitempty" doc:"degrees, WGS 84"`
	Lon     *float64          `json:"lon,omitempty" doc:"degrees, WGS 84"`
	Gateway string            `json:"gateway,omitempty" doc:"id of the device that may speak for this one"`
	Grade   string            `json:"grade,omitempty" doc:"ungraded, general, important or core (GB/T 43697)"`
	Model   string            `json:"model,omitempty" doc:"id of what its kind of device measures"`
	Secret  string            `json:"secret,omitempty" doc:"16 to 128 visible ASCII characters; made by the hub when absent"`
	Awaited bool              `json:"awaited,omitempty" doc:"it has no secret until it enrols with a token"`
	Again   string            `json:"again,omitempty" maxLength:"1000" doc:"why it collects again what a published dataset shares, which is answered 409 else; kept in the record of changes"`
}

func (in DeviceIn) spec(at string) (registry.Spec, error) {
	s := registry.Spec{ID: in.ID, Kind: in.Kind, Site: in.Site, Region: in.Region, Tags: in.Tags,
		Lat: in.Lat, Lon: in.Lon, Gateway: in.Gateway, Grade: in.Grade, Model: in.Model, Secret: in.Secret, Awaited: in.Awaited}
	if in.Period == "" {
		return s, nil
	}
	period, err := time.ParseDuration(in.Period)
	if err != nil || period <= 0 {
		return s, fault(at+"period", in.Period, fmt.Sprintf("period %q is no duration; write it like 60s or 1h30m", in.Period))
	}
	s.Period = period
	return s, nil
}

func describeDevice(d *registry.Device) DeviceIn {
	s := d.Spec()
	in := DeviceIn{ID: s.ID, Kind: s.Kind, Site: s.Site, Region: s.Region, Tags: s.Tags, Lat: s.Lat, Lon: s.Lon, Gateway: s.Gateway, Grade: s.Grade, Model: s.Model, Awaited: s.Awaited}
	if s.Period > 0 {
		in.Period = s.Period.String()
	}
	return in
}

// DeviceOut is a device as the hub shows it.
type DeviceOut struct {
	DeviceIn
	EffectiveGrade string      `json:"effective_grade,omitempty" doc:"the higher of the device's grade and its model's; single metrics may have a higher one. Absent while nobody has decided: then nothing of it is published"`
	Disabled       bool        `json:"disabled"`
	Presence       presenceOut `json:"presence"`
	LastSeen       *time.Time  `json:"last_seen" doc:"when live traffic last arrived"`
	// LastEvent is null until samples carry a time.
	LastEvent       *time.Time          `json:"last_event" doc:"the newest time of its samples"`
	Series          int                 `json:"series" doc:"0 for callers who may not see all that it reports"`
	Samples         uint64              `json:"samples" doc:"since the hub started; 0 for callers who may not see all that it reports"`
	CertificateEnds *time.Time          `json:"certificate_ends,omitempty" doc:"when its newest certificate ends; absent when none is known"`
	LearnedPeriod   string              `json:"learned_period,omitempty"`
	States          map[string]stateOut `json:"states,omitempty" doc:"strings that the device reported"`
	Version         int64               `json:"version"`
	Created         time.Time           `json:"created"`
	Updated         time.Time           `json:"updated"`
}

type presenceOut struct {
	State  string     `json:"state" enum:"online,late,offline,never"`
	Since  *time.Time `json:"since"`
	Reason string     `json:"reason"`
}

type stateOut struct {
	Value string    `json:"value"`
	Time  time.Time `json:"time"`
}

func (a *API) show(ctx context.Context, d *registry.Device) DeviceOut {
	s := a.Presence.Of(d.ID)
	out := DeviceOut{
		DeviceIn: describeDevice(d), Disabled: d.Disabled,
		Presence: presenceOut{State: string(s.State), Since: moment(s.Since), Reason: string(s.Reason)},
		LastSeen: moment(s.LastSeen), LastEvent: moment(s.LastEvent), Series: s.Series, Samples: s.Samples,
		CertificateEnds: moment(a.Registry.CertificateEnds(d.ID)), Version: d.Version, Created: d.Created, Updated: d.Updated,
	}
	if g := d.EffectiveGrade(); g != telemetry.Ungraded {
		out.EffectiveGrade = g.String()
	}
	if !seesAllOf(ctx, d.Device) {
		out.Series, out.Samples = 0, 0
	}
	if s.Period > 0 {
		out.LearnedPeriod = s.Period.String()
	}
	return out
}

type oneDevice struct {
	ETag string `header:"ETag"`
	Body DeviceOut
}

func (a *API) one(ctx context.Context, d *registry.Device) *oneDevice {
	return &oneDevice{etag(d.Version), a.show(ctx, d)}
}

// DeviceID is a request about one device, on the condition of its version.
type DeviceID struct {
	ID string `path:"id"`
	Conditional
}

// device returns a device that the caller may see; one of another region, or of
// a higher grade, is as if it were not there.
func (a *API) device(ctx context.Context, id string) (*registry.Device, error) {
	d, err := a.Registry.Get(id)
	if err == nil && !access.CallerOf(ctx).Sees(d.Device) {
		err = fmt.Errorf("device %q %w; see `hub device list`", id, registry.ErrUnknown)
	}
	return d, err
}

type deviceQuery struct {
	Paging
	Kind     string `query:"kind" enum:"sensor,rsu,node,gateway,meter"`
	Site     string `query:"site"`
	Model    string `query:"model"`
	Region   string `query:"region" doc:"beginning of a division code"`
	Presence string `query:"presence" enum:"online,late,offline,never"`
	Q        string `query:"q" doc:"part of the id or of a tag's value"`
}

func (a *API) listDevices(ctx context.Context, in *deviceQuery) (*pageOut[DeviceOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	f := registry.Filter{Kind: telemetry.Kind(in.Kind), Site: in.Site, Model: in.Model, Region: in.Region, Query: in.Q}
	f.Sees = sees(ctx)
	f.Match = func(id string) bool { return in.Presence == "" || string(a.Presence.Of(id).State) == in.Presence }
	found, more := a.Registry.List(f, after, in.Limit)
	out := newPage[DeviceOut](len(found))
	for _, d := range found {
		out.Body.Items = append(out.Body.Items, a.show(ctx, d))
	}
	if more {
		out.Body.Next = cursor(found[len(found)-1].ID)
	}
	return out, nil
}

func (a *API) getDevice(ctx context.Context, in *DeviceID) (*oneDevice, error) {
	d, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := a.one(ctx, d)
	if !seesAllOf(ctx, d.Device) { // a text may be of any metric
		return out, nil
	}
	states, err := a.Registry.States(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	for name, s := range states {
		if out.Body.States == nil {
			out.Body.States = map[string]stateOut{}
		}
		out.Body.States[name] = stateOut(s)
	}
	return out, nil
}

// madeDevice is the only answer that holds a secret.
type madeDevice struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     deviceWithSecret
}

type deviceWithSecret struct {
	DeviceOut
	Secret string `json:"secret,omitempty" doc:"shown this once; absent while the device is awaited"`
}

func (a *API) made(ctx context.Context, c registry.Created) *madeDevice {
	return &madeDevice{etag(c.Version), "/api/v1/devices/" + c.ID, deviceWithSecret{a.show(ctx, c.Device), c.Secret}}
}

func (a *API) createDevice(ctx context.Context, in *struct{ Body DeviceIn }) (*madeDevice, error) {
	s, err := in.Body.spec("body.")
	if err != nil {
		return nil, err
	}
	if err := a.mayDescribe(ctx, s); err != nil {
		return nil, err
	}
	if err := a.oneSource(ctx, a.newcomers(in.Body)...); err != nil {
		return nil, err
	}
	c, err := a.Registry.Create(a.noted(ctx, access.WriteDevices, "device "+s.ID, s.Region, nil, in.Body.withoutSecret()), s)
	if err != nil {
		return nil, err
	}
	return a.made(ctx, c), nil
}

func (in DeviceIn) withoutSecret() DeviceIn {
	in.Secret = ""
	return in
}

type batchIn struct {
	Body struct {
		Devices []DeviceIn `json:"devices" minItems:"1"`
	}
}

type batchOut struct {
	Body struct {
		Devices []idAndSecret `json:"devices"`
	}
}

type idAndSecret struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty" doc:"shown this once; absent while the device is awaited"`
}

func (a *API) createDevices(ctx context.Context, in *batchIn) (*batchOut, error) {
	specs := make([]registry.Spec, len(in.Body.Devices))
	ids := make([]string, len(specs))
	for i, d := range in.Body.Devices {
		s, err := d.spec(fmt.Sprintf("body.devices[%d].", i))
		if err != nil {
			return nil, err
		}
		if err := a.mayDescribe(ctx, s); err != nil {
			return nil, err
		}
		specs[i], ids[i] = s, s.ID
	}
	if err := a.oneSource(ctx, a.newcomers(in.Body.Devices...)...); err != nil {
		return nil, err
	}
	ctx = a.noted(ctx, access.WriteDevices, fmt.Sprintf("%d devices", len(ids)), region(ctx), nil, idsWithReasons(in.Body.Devices))
	made, err := a.Registry.CreateBatch(ctx, specs)
	if err != nil {
		return nil, err
	}
	out := &batchOut{}
	out.Body.Devices = make([]idAndSecret, len(made))
	for i, c := range made {
		out.Body.Devices[i] = idAndSecret{c.ID, c.Secret}
	}
	return out, nil
}

type devicePatch struct {
	DeviceID
	Body map[string]any `doc:"the fields to change; null clears one"`
}

func (a *API) patchDevice(ctx context.Context, in *devicePatch) (*oneDevice, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	old, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	before := describeDevice(old)
	after, err := before.merged(in.Body)
	if err != nil {
		return nil, err
	}
	s, err := after.spec("body.")
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteDevices, s.Region); err != nil {
		return nil, err
	}
	if after.Grade != before.Grade || after.Model != before.Model {
		if err := mayGrade(ctx, max(old.HighestGrade(), a.highestOf(s))); err != nil {
			return nil, err
		}
	}
	if collects(before, after) {
		if err := a.oneSource(ctx, after); err != nil {
			return nil, err
		}
	}
	if version == 0 {
		version = old.Version // what was merged must still be so
	}
	d, err := a.Registry.Update(a.noted(ctx, access.WriteDevices, "device "+in.ID, s.Region, before, after), s, version)
	if err != nil {
		return nil, err
	}
	return a.one(ctx, d), nil
}

// merged applies a merge patch (RFC 7396).
func (in DeviceIn) merged(patch map[string]any) (out DeviceIn, err error) {
	var doc map[string]any
	if err := json.Unmarshal([]byte(asJSON(in)), &doc); err != nil {
		return out, err
	}
	if _, ok := patch["secret"]; ok {
		return out, fault("body.secret", "…", "secret cannot be changed so; POST /api/v1/devices/"+in.ID+"/rotate makes a new one")
	}
	if _, ok := patch["awaited"]; ok {
		return out, fault("body.awaited", patch["awaited"], "awaited cannot be changed so; POST /api/v1/devices/"+in.ID+"/replace lets the device enrol anew")
	}
	if id, ok := patch["id"]; ok && id != in.ID {
		return out, fault("body.id", id, "id cannot be changed; register a new device and remove this one")
	}
	mergePatch(doc, patch)
	dec := json.NewDecoder(bytes.NewReader([]byte(asJSON(doc))))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return out, newProblem(http.StatusUnprocessableEntity, "the change cannot be read: "+strings.TrimPrefix(err.Error(), "json: ")+"; GET the device to see its fields")
	}
	return out, nil
}

func mergePatch(doc, patch map[string]any) {
	for k, v := range patch {
		inner, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(doc, k)
		case isObject:
			old, _ := doc[k].(map[string]any)
			if old == nil {
				old = map[string]any{}
			}
			mergePatch(old, inner)
			doc[k] = old
		default:
			doc[k] = v
		}
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/correction"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// CorrectionIn is a correction as it is asked for. The pointers tell apart what
// is absent from zero.
type CorrectionIn struct {
	Device  string            `json:"device" minLength:"1" maxLength:"64"`
	Metric  string            `json:"metric" minLength:"1" maxLength:"500"`
	Labels  map[string]string `json:"labels,omitempty" doc:"labels that a series must have besides; without them every series of the device and metric"`
	Time    *time.Time        `json:"time,omitempty" doc:"of one sample, to the millisecond; or from and to"`
	From    *time.Time        `json:"from,omitempty" doc:"first time that is corrected"`
	To      *time.Time        `json:"to,omitempty" doc:"last time that is corrected"`
	Old     *float64          `json:"old,omitempty" doc:"what the one sample is now; refused with 409 when it is not"`
	Value   *float64          `json:"value,omitempty" doc:"what it should be"`
	Factor  *float64          `json:"factor,omitempty" doc:"multiply by this"`
	Offset  *float64          `json:"offset,omitempty" doc:"and add this"`
	Remove  bool              `json:"remove,omitempty" doc:"nothing was measured: queries show no sample"`
	Restore bool              `json:"restore,omitempty" doc:"the raw value was right: queries show it again"`
	Reason  string            `json:"reason" minLength:"1" maxLength:"2000"`
	Ticket  string            `json:"ticket,omitempty" maxLength:"32" doc:"the open objection, or request of a person, that it answers: its thread shows the correction and what follows from it"`
}

// correctionOut is a correction as it is kept.
type correctionOut struct {
	ID        int64             `json:"id"`
	Device    string            `json:"device"`
	Metric    string            `json:"metric"`
	Labels    map[string]string `json:"labels,omitempty"`
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to" doc:"included"`
	Operation string            `json:"operation" enum:"set,scale,remove,restore"`
	Value     *float64          `json:"value,omitempty"`
	Factor    *float64          `json:"factor,omitempty"`
	Offset    *float64          `json:"offset,omitempty"`
	Old       *float64          `json:"old,omitempty" doc:"what the one sample was before"`
	Samples   int64             `json:"samples" doc:"how many it was about when it was made; samples that come later are corrected too"`
	By        string            `json:"by"`
	Reason    string            `json:"reason"`
	Ticket    string            `json:"ticket,omitempty" doc:"that it answers"`
	At        time.Time         `json:"at" doc:"from when on queries show it; as_of an earlier time they do not"`
}

func showCorrection(c *correction.Correction) correctionOut {
	out := correctionOut{
		ID: c.ID, Device: c.Device, Metric: c.Metric, Labels: c.Labels, From: time.UnixMilli(c.From).UTC(), To: time.UnixMilli(c.To).UTC(),
		Operation: string(c.Operation), Old: c.Old, Samples: c.Samples, By: c.By, Reason: c.Reason, Ticket: c.Ticket, At: time.UnixMilli(c.At).UTC(),
	}
	switch c.Operation {
	case correction.Set:
		out.Value = &c.Value
	case correction.Scale:
		out.Factor, out.Offset = &c.Factor, &c.Offset
	}
	return out
}

// correction reads what is asked for.
func (in *CorrectionIn) correction() (c correction.Correction, err error) {
	c = correction.Correction{Device: in.Device, Metric: in.Metric, Labels: in.Labels, Old: in.Old, Reason: in.Reason, Ticket: in.Ticket}
	switch {
	case in.Time != nil && in.From == nil && in.To == nil:
		c.From, c.To = in.Time.UnixMilli(), in.Time.UnixMilli()
	case in.Time == nil && in.From != nil && in.To != nil:
		c.From, c.To = in.From.UnixMilli(), in.To.UnixMilli()
	default:
		return c, fault("body.time", in.Time, "give the time of one sample, or from and to of a range")
	}
	asked := 0
	for _, o := range []struct {
		is        bool
		operation correction.Operation
	}{{in.Value != nil, correction.Set}, {in.Factor != nil || in.Offset != nil, correction.Scale}, {in.Remove, correction.Remove}, {in.Restore, correction.Restore}} {
		if o.is {
			c.Operation = o.operation
			asked++
		}
	}
	if asked != 1 {
		return c, fault("body.value", in.Value, "say one thing: value, factor and offset, remove, or restore")
	}
	if in.Value != nil {
		c.Value = *in.Value
	}
	if c.Operation == correction.Scale {
		c.Factor = 1
		if in.Factor != nil {
			c.Factor = *in.Factor
		}
		if in.Offset != nil {
			c.Offset = *in.Offset
		}
	}
	return c, nil
}

// subject is where the device of a correction lies, and the grade of what it
// measures there, removed ones of its id included: their series stay. A device
// that is not registered lies nowhere.
func (a *API) subject(device, metric string) (*telemetry.Device, string, telemetry.Grade) {
	return subject(a.Registry, device, metric)
}

// SeesCorrection reports whether a caller may see a correction: of a device of its
// region, and of data of its grade.
func SeesCorrection(r *registry.Registry, caller access.Caller, c *correction.Correction) bool {
	_, region, grade := subject(r, c.Device, c.Metric)
	return strings.HasPrefix(region, caller.Region) && grade <= caller.Grade
}

func subject(r *registry.Registry, device, metric string) (*telemetry.Device, string, telemetry.Grade) {
	d, g := r.Device(device), r.Departed(device)
	if d == nil {
		return nil, "", g
	}
	g = max(g, d.EffectiveGrade())
	if m := d.Model.Metric([]byte(metric)); m != nil {
		g = max(g, m.Grade)
	}
	return d, d.Region, g
}

type oneCorrection struct{ Body correctionOut }

func (a *API) addCorrection(ctx context.Context, in *struct{ Body CorrectionIn }) (*oneCorrection, error) {
	caller := access.CallerOf(ctx)
	d, region, grade := a.subject(in.Body.Device, in.Body.Metric)
	if d != nil && !caller.Sees(d) { // as if it were not there
		return nil, fmt.Errorf("device %s %w", in.Body.Device, correction.ErrNothing)
	}
	if err := may(ctx, access.CorrectSeries, region); err != nil {
		return nil, err
	}
	if err := mayGrade(ctx, grade); err != nil {
		return nil, err
	}
	c, err := in.Body.correction()
	if err != nil {
		return nil, err
	}
	if err := a.answersWith(ctx, &c); err != nil {
		return nil, err
	}
	c.By = caller.Name
	kept, err := a.Corrections.Add(a.noted(ctx, access.CorrectSeries, c.String(), region, nil, in.Body), c)
	if err != nil {
		return nil, err
	}
	return &oneCorrection{showCorrection(kept)}, nil
}

// answersWith looks at the ticket of a correction before it is made: what was made for
// a number that was mistyped stays. Who corrects needs no right to handle tickets, and
// learns nothing of them but that there is an open one in the own region. Art. 27
func (a *API) answersWith(ctx context.Context, c *correction.Correction) error {
	if c.Ticket == "" {
		return nil
	}
	t, err := a.Catalog.Ticket(ctx, c.Ticket)
	switch {
	case errors.Is(err, register.ErrUnknown), err == nil && !strings.HasPrefix(t.Region, access.CallerOf(ctx).Region):
		return fault("body.ticket", c.Ticket, "there is no ticket of this number in your region; `hub objection list` shows stewards which there are")
	case err != nil:
		return err
	case t.State == register.Closed:
		return fault("body.ticket", c.Ticket, fmt.Sprintf("ticket %s is closed (%s), and its thread has ended; correct without it, or name an open one", c.Ticket, t.Outcome))
	case t.Dataset == "" || c.From > c.To: // which is refused for that
		return nil
	}
	about, err := a.Concerns(ctx, t.Dataset, c)
	if err == nil && !about {
		err = fault("body.ticket", c.Ticket, fmt.Sprintf("ticket %s is about dataset %s, which is made of no such samples; name the ticket that is meant, or correct without one", c.Ticket, t.Dataset))
	}
	return err
}

type correctionsQuery struct {
	Paging
	Device string `query:"device" maxLength:"64"`
	Metric string `query:"metric" maxLength:"500"`
	Ticket string `query:"ticket" maxLength:"32" doc:"only those that answer this ticket"`
}

func (a *API) listCorrections(ctx context.Context, in *correctionsQuery) (*pageOut[correctionOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	caller := access.CallerOf(ctx)
	part, next := a.Corrections.List(correction.Filter{Device: in.Device, Metric: in.Metric, Ticket: in.Ticket, Before: before, Sees: func(c *correction.Correction) bool { return SeesCorrection(a.Registry, caller, c) }}, in.Limit)
	out := newPage[correctionOut](len(part))
	for _, c := range part {
		out.Body.Items = append(out.Body.Items, showCorrection(c))
	}
	if next != 0 {
		out.Body.Next = cursor(fmt.Sprint(next))
	}
	return out, nil
}

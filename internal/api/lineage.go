package api

import (
	"context"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/register"
)

type lineageIn struct {
	ID      string `path:"id"`
	Version string `query:"version" pattern:"^[0-9]{1,18}$" doc:"of a release; absent with a row: the newest. Absent without one: what the dataset is made of now"`
	Row     string `query:"row" pattern:"^[0-9]{1,9}$" doc:"of the release, from 0 in the order of its files; absent: all rows"`
}

type lineageOut struct {
	Body struct {
		Dataset     string              `json:"dataset"`
		Source      register.Source     `json:"source"`
		Release     *lineageRelease     `json:"release,omitempty" doc:"that the answer is about"`
		Row         *lineageRow         `json:"row,omitempty"`
		Devices     []lineageDevice     `json:"devices" doc:"that the caller may see, with what they measure of it; of a release as they were when it was made"`
		Series      []lineageSeries     `json:"series,omitempty" doc:"of a release: what its rows are made of"`
		Corrections []lineageCorrection `json:"corrections,omitempty" doc:"of a release: those that its samples were read with, of series that the caller may see"`
		Cut         bool                `json:"cut,omitempty" doc:"there are more series than could be looked at"`
	}
}

type lineageRelease struct {
	Version   int64             `json:"version"`
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Decided   time.Time         `json:"decided"`
	Replaces  int64             `json:"replaces,omitempty"`
	Reason    *register.Text    `json:"reason,omitempty"`
	Transform publish.Transform `json:"transform" doc:"what made its rows, and the hash of what it goes by"`
}

type lineageRow struct {
	Row int       `json:"row"`
	By  []string  `json:"by" doc:"the labels that it keeps, in the order of source.by"`
	At  time.Time `json:"at" doc:"when its bin begins"`
}

type lineageSeries struct {
	Series  string `json:"series" doc:"as PromQL selects it"`
	Device  string `json:"device,omitempty"`
	Samples int64  `json:"samples" doc:"of the period of the release"`
}

type lineageCorrection struct {
	ID     int64     `json:"id" doc:"as /api/v1/corrections has it"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

type lineageDevice struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind,omitempty"`
	Site     string   `json:"site,omitempty"`
	Region   string   `json:"region,omitempty"`
	Model    string   `json:"model,omitempty"`
	Gateway  string   `json:"gateway,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	Agent    string   `json:"agent,omitempty"`
	Series   []string `json:"series,omitempty"`
}

func (a *API) datasetLineage(ctx context.Context, in *lineageIn) (*lineageOut, error) {
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Version != "" || in.Row != "" {
		return a.releaseLineage(ctx, r, in)
	}
	l, err := a.Catalog.Lineage(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &lineageOut{}
	out.Body.Dataset, out.Body.Source, out.Body.Cut, out.Body.Devices = l.Dataset, l.Source, l.Cut, []lineageDevice{}
	for _, d := range l.Devices {
		one := lineageDevice{ID: d.ID, Kind: d.Kind, Region: d.Region, Series: d.Series}
		if known := a.Registry.Device(d.ID); known != nil && known.Model != nil {
			one.Model = known.Model.ID
		}
		out.Body.Devices = append(out.Body.Devices, one)
	}
	return out, nil
}

// releaseLineage answers from row to release, to what made it, to series and
// devices.
func (a *API) releaseLineage(ctx context.Context, r *register.Record, in *lineageIn) (*lineageOut, error) {
	version, row := int64(0), -1
	if in.Version != "" {
		version, _ = strconv.ParseInt(in.Version, 10, 64) // its pattern was checked
	}
	if in.Row != "" {
		row, _ = strconv.Atoi(in.Row)
	}
	l, err := a.Lineage(ctx, in.ID, version, row)
	if err != nil {
		return nil, err
	}
	out := &lineageOut{}
	b := &out.Body
	b.Dataset, b.Source, b.Devices = l.Dataset, r.Document.Source, []lineageDevice{}
	b.Release = &lineageRelease{Version: l.Version, From: l.Period.From, To: l.Period.To, Decided: l.Made, Replaces: l.Replaces, Transform: l.Transform}
	if l.Replaces != 0 {
		b.Release.Reason = &register.Text{ZH: l.Reason.ZH, EN: l.Reason.EN}
	}
	if l.Row >= 0 {
		b.Row = &lineageRow{l.Row, l.By, l.At}
	}
	for _, d := range l.Devices {
		b.Devices = append(b.Devices, lineageDevice{ID: d.ID, Kind: d.Kind, Site: d.Site, Region: d.Region, Model: d.Model, Gateway: d.Gateway, Firmware: d.Firmware, Agent: d.Agent})
	}
	for i := range l.Series {
		s := &l.Series[i]
		b.Series = append(b.Series, lineageSeries{s.Name(), s.Labels["device"], s.Samples})
	}
	for _, c := range l.Corrections {
		b.Corrections = append(b.Corrections, lineageCorrection{c.ID, c.By, c.At, c.Reason})
	}
	return out, nil
}

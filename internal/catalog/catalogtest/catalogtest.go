// Package catalogtest has what outlets of the catalogue are tested with: datasets
// as there will be most of, and a harvester that does as the one of CKAN does.
package catalogtest

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Usual is a dataset as there will be most of.
func Usual(i, edition int) *catalog.Entry {
	at := time.Date(2026, 11, 1, 0, 0, edition, 0, time.UTC)
	d := &catalog.Dataset{ID: fmt.Sprintf("road-temperature-%05d", i), Code: fmt.Sprintf("307001/%06d", i),
		Title: catalog.Text{ZH: "路面温度监测数据", EN: "Road temperature"}, Abstract: catalog.Text{ZH: fmt.Sprintf("路侧传感器路面温度，十分钟均值，第 %d 版", edition), EN: "Road temperature, means of ten minutes"},
		Keywords: []catalog.Text{{ZH: "路面温度", EN: "road temperature"}, {ZH: "物联网"}}, Provider: catalog.Provider{Name: catalog.Text{ZH: "某市交通运输局"}, Code: "112200000000000005"},
		Contact: catalog.Contact{Name: catalog.Text{ZH: "数据管理员"}, Phone: "0431-12345678", Email: "data@example.test"}, Path: catalog.Path{"交通", "道路", "气象", "路面"},
		Share: catalog.Terms{Class: catalog.Unconditional}, Open: catalog.Terms{Class: catalog.Unconditional}, Grade: telemetry.General,
		Cycle: catalog.Cycle{Kind: catalog.Periodic, Period: 24 * time.Hour}, Licence: "https://creativecommons.org/licenses/by/4.0/", State: catalog.Published,
		Created: at, Published: at, Modified: at, Data: at, Version: int64(edition)}
	d.Source.Bin = 10 * time.Minute
	for _, n := range []string{"time", "station", "temperature", "humidity", "quality"} {
		d.Items = append(d.Items, catalog.Item{Name: n, Title: catalog.Text{ZH: "信息项", EN: n}, Type: catalog.Number, Unit: "Cel", Share: catalog.Unconditional, Open: catalog.Unconditional, Grade: telemetry.General})
	}
	e := &catalog.Entry{Dataset: d, Coverage: catalog.Coverage{Time: catalog.Period{From: at, To: at.Add(24 * time.Hour)}, Area: &catalog.Box{West: 125, South: 43, East: 126, North: 44}},
		Releases: []catalog.Release{{Version: 3, Made: at, Period: catalog.Period{From: at, To: at.Add(24 * time.Hour)}, Files: []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 12345, Rows: 144}, {Name: "data.parquet", MediaType: "application/vnd.apache.parquet", Size: 2345, Rows: 144}}}},
		Live:     []catalog.Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sta", URL: fmt.Sprintf("http://data.example.test/sta/v1.1/Datastreams(%d)", i)}}}
	for _, m := range catalog.Dimensions() {
		e.Measurements = append(e.Measurements, catalog.Measurement{Dimension: m, Value: 0.9875, At: at})
	}
	return e
}

// Package is what a harvester keeps of a dataset.
type Package struct{ Name, Abstract string }

// Harvester does as ckanext-dcat 2.4.3 does.
type Harvester struct {
	Client *http.Client
	// URL is that of the first page, in JSON-LD.
	URL string
	// Kept is what it has, by address.
	Kept map[string]Package
	// Bytes and Pages are what it read.
	Bytes, Pages int
	body         bytes.Buffer
}

// Node is a node of a page, as far as harvesters look.
type Node struct {
	ID      string   `json:"@id"`
	Classes []string `json:"@type"`
	Title   []Value  `json:"dct:title"`
	About   []Value  `json:"dct:description"`
	Next    []Ref    `json:"hydra:next"`
	Object  []Ref    `json:"as:object"`
}

// Value is a literal.
type Value struct {
	Value string `json:"@value"`
}

// Ref is an address.
type Ref struct {
	ID string `json:"@id"`
}

// Largest is how much of a page it takes.
const Largest = 50 << 20

// get asks HEAD first; 405 and 400 fall back to GET, any other error ends the job.
func (h *Harvester) get(url string) ([]byte, error) {
	resp, err := h.Client.Head(url)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if c := resp.StatusCode; c >= 400 && c != http.StatusMethodNotAllowed && c != http.StatusBadRequest {
		return nil, errors.New(resp.Status)
	}
	resp, err = h.Client.Get(url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 400 {
		return nil, errors.New(resp.Status)
	}
	h.body.Reset()
	if _, err = h.body.ReadFrom(resp.Body); err == nil && h.body.Len() >= Largest {
		err = errors.New("remote file is too big")
	}
	h.Bytes += h.body.Len()
	h.Pages++
	return h.body.Bytes(), err
}

// Harvest reads all pages and returns the addresses that it deleted.
func (h *Harvester) Harvest() (deleted []string, err error) {
	var first [md5.Size]byte
	found, names := map[string]Package{}, map[string]int{}
	for url := h.URL; url != ""; {
		body, err := h.get(url)
		if err != nil {
			return nil, err
		}
		if sum := md5.Sum(body); url == h.URL {
			first = sum
		} else if sum == first {
			break
		}
		nodes, err := Read(body)
		if err != nil {
			return nil, err
		}
		url = ""
		for _, n := range nodes {
			if slices.Contains(n.Classes, "hydra:PartialCollectionView") && len(n.Next) > 0 {
				url = n.Next[0].ID
			}
			if !slices.Contains(n.Classes, "dcat:Dataset") {
				continue
			}
			if len(n.Title) == 0 {
				return nil, fmt.Errorf("%s has no title", n.ID)
			}
			if _, twice := found[n.ID]; twice {
				return nil, fmt.Errorf("%s is there twice", n.ID)
			}
			name := Munge(n.Title[0].Value) // the Chinese one: the worst for a name
			if names[name]++; names[name] > 1 {
				return nil, fmt.Errorf("%s has the name %s of another", n.ID, name)
			}
			found[n.ID] = Package{name, n.About[0].Value}
		}
	}
	for id := range h.Kept {
		if _, still := found[id]; !still {
			deleted = append(deleted, id)
		}
	}
	h.Kept = found
	return deleted, nil
}

// Read reads a page.
func Read(body []byte) ([]Node, error) {
	var page struct {
		Graph []Node `json:"@graph"`
	}
	return page.Graph, json.Unmarshal(body, &page)
}

// longest is how much of a title becomes a name: 100 characters less the suffix
// that CKAN may add.
const longest = 95

// Munge makes a name of a title: what is no ASCII letter or digit vanishes.
func Munge(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-':
			b.WriteRune(r)
		case r == ' ' || r == '/' || r == ':' || r == '.':
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	return name[:min(len(name), longest)]
}

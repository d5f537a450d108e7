package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Format is the form of manifests and files (docs/formats/release.md). What
// changes the bytes of a file changes it.
const Format = "songhua-release/1"

// The files of a release. Only tables with places have one of GeoJSON, and only
// those that went through the privacy gate its report.
const (
	ManifestFile = "manifest.json"
	CSVFile      = "data.csv"
	SchemaFile   = "data.csv-metadata.json" // where CSV on the Web looks for it
	ParquetFile  = "data.parquet"
	GeoJSONFile  = "data.geojson"
	NDJSONFile   = "data.ndjson"
	PrivacyFile  = "privacy.json"
)

// Manifest says what a release is, by what it was made, and what its files are.
type Manifest struct {
	Format  string `json:"format"`
	Dataset string `json:"dataset"`
	Code    string `json:"code,omitempty"`
	Title   Text   `json:"title"`
	// Version counts from 1 within the dataset.
	Version int64     `json:"version"`
	Period  Period    `json:"period"`
	Made    time.Time `json:"made"`
	// Grade, Share and Open are those of the dataset when it was made.
	Grade   string        `json:"grade"`
	Share   catalog.Class `json:"share"`
	Open    catalog.Class `json:"open"`
	Licence string        `json:"licence,omitempty"`
	Columns []ColumnInfo  `json:"columns"`
	// Key are the columns that tell rows apart, and by which they are ordered.
	Key    []string `json:"key"`
	Rows   int64    `json:"rows"`
	Files  []File   `json:"files"`
	Recipe Recipe   `json:"recipe"`
	// Replaces is the version that it corrects, Reason says why, and Diff what is
	// different; 0: none.
	Replaces int64    `json:"replaces,omitempty"`
	Reason   Text     `json:"reason,omitzero"`
	Diff     *Changes `json:"diff,omitempty"`
	// Cut says that the files have a part of the release, and which; nil: all of it.
	Cut *Cut `json:"cut,omitempty"`
	// Removed says that the files are gone, and why.
	Removed *Removal `json:"removed,omitempty"`

	sealed bool // it lies on disk encrypted
}

// Text is a text in both languages.
type Text struct {
	ZH string `json:"zh,omitempty"`
	EN string `json:"en,omitempty"`
}

// Period is a span of time; its end is not in it.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// ColumnInfo is a column as a manifest has it.
type ColumnInfo struct {
	Name   string        `json:"name"`
	Title  Text          `json:"title"`
	Type   catalog.Type  `json:"type"`
	Unit   string        `json:"unit,omitempty"`
	Length int           `json:"length,omitempty"`
	Share  catalog.Class `json:"share,omitempty"`
	Open   catalog.Class `json:"open,omitempty"`
	Grade  string        `json:"grade"`
	Empty  Text          `json:"empty,omitzero"`
	// JSON is "string" where integers are too large for readers of JSON, and so are
	// strings in NDJSON and GeoJSON.
	JSON string `json:"json,omitempty"`
}

// File is one of a release.
type File struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"` // hexadecimal
	// Rows is 0 for files that have none.
	Rows int64 `json:"rows,omitempty"`
}

// Recipe is what a release was made of and by what: the same gives the same
// files on every machine.
type Recipe struct {
	// Transform is what made rows of the inputs: its name with a version, and a hash
	// of what it goes by.
	Transform Transform `json:"transform"`
	// Source is the part of the dataset's document that says what is selected.
	Source json.RawMessage `json:"source,omitempty"`
	// Inputs are what rows were made of.
	Inputs []Input `json:"inputs,omitempty"`
	// Parameters are what else the transform was told.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// Transform makes rows of inputs.
type Transform struct {
	ID   string `json:"id"`
	Hash string `json:"sha256,omitempty"`
}

// Input is something that rows are made of, such as a series.
type Input struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256,omitempty"` // of its values
	Count  int64  `json:"count,omitempty"`  // of them
}

// Removal is why files are gone.
type Removal struct {
	At     time.Time `json:"at"`
	Reason Text      `json:"reason"`
}

// File returns a file by its name; nil: there is none.
func (m *Manifest) File(name string) *File {
	i := slices.IndexFunc(m.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Files[i]
}

func (m *Manifest) isKey(name string) bool { return slices.Contains(m.Key, name) }

// Region is the prefix of division codes that the rows of the release are of, as
// its recipe says; empty: of everywhere.
func (m *Manifest) Region() string {
	var source struct {
		Region string `json:"region"`
	}
	if json.Unmarshal(m.Recipe.Source, &source) != nil {
		return ""
	}
	return source.Region
}

// Encode writes the manifest as JSON in canonical form (RFC 8785) and a line feed.
func (m *Manifest) Encode() ([]byte, error) { return canonical(m) }

// ParseManifest reads a manifest.
func ParseManifest(text []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("it is no manifest of a release: %w", err)
	}
	if m.Format != Format {
		return nil, fmt.Errorf("it is a manifest of form %.50q, and this program reads %s; use a program of the version that made it", m.Format, Format)
	}
	return m, m.check()
}

// check refuses what this program could not have written: manifests also come
// from elsewhere.
func (m *Manifest) check() error {
	for _, c := range m.Columns {
		if _, err := telemetry.ParseGrade(c.Grade); err != nil || !slices.Contains(catalog.Types(), c.Type) {
			return fmt.Errorf("column %.70q of the manifest is of type %.20q and grade %.20q, which are none", c.Name, c.Type, c.Grade)
		}
	}
	for _, f := range m.Files {
		if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size || f.Size < 0 || f.Name != filepath.Base(f.Name) || f.Name == "." {
			return fmt.Errorf("file %.140q of the manifest has no name, size and SHA-256 that could be", f.Name)
		}
	}
	return nil
}

// Release is what the catalogue says of it.
func (m *Manifest) Release() catalog.Release {
	r := catalog.Release{Version: m.Version, Period: catalog.Period(m.Period), Made: m.Made, Replaces: m.Replaces, Reason: catalog.Text(m.Reason)}
	for _, f := range m.Files {
		d := catalog.Distribution{Name: f.Name, MediaType: f.MediaType, Size: f.Size, Rows: f.Rows}
		hex.Decode(d.SHA256[:], []byte(f.SHA256)) //nolint:errcheck // a store makes them and checks them when it opens
		r.Files = append(r.Files, d)
	}
	return r
}

// Items are the columns as the catalogue has them.
func (m *Manifest) Items() []catalog.Item {
	all := make([]catalog.Item, len(m.Columns))
	for i, c := range m.Columns {
		grade, _ := telemetry.ParseGrade(c.Grade) // that it is one was seen when the manifest was read
		all[i] = catalog.Item{Grade: grade, Name: c.Name, Title: catalog.Text(c.Title), Type: c.Type, Unit: c.Unit, Length: c.Length, Share: c.Share, Open: c.Open, Empty: catalog.Text(c.Empty)}
	}
	return all
}

// infos are the columns as a manifest has them.
func infos(t *Table) []ColumnInfo {
	all := make([]ColumnInfo, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		all[i] = ColumnInfo{Name: c.Name, Title: Text(c.Title), Type: c.Type, Unit: c.Unit, Length: c.Length, Share: c.Share, Open: c.Open, Grade: c.Grade.String(), Empty: Text(c.Empty)}
		if c.large() {
			all[i].JSON = "string"
		}
	}
	return all
}

// form is one kind of file that is made of rows.
type form struct {
	name, media string
	rows        bool // it has all rows
	write       func(ctx context.Context, t *Table, m *Manifest, w io.Writer) error
}

// forms are the files that a table has.
func forms(t *Table) []form {
	of := func(write func(context.Context, *Table, io.Writer) error) func(context.Context, *Table, *Manifest, io.Writer) error {
		return func(ctx context.Context, t *Table, _ *Manifest, w io.Writer) error { return write(ctx, t, w) }
	}
	all := []form{
		{CSVFile, "text/csv", true, of(writeCSV)},
		{SchemaFile, "application/csvm+json", false, writeSchema},
		{ParquetFile, "application/vnd.apache.parquet", true, of(writeParquet)},
		{NDJSONFile, "application/x-ndjson", true, of(writeNDJSON)},
	}
	if t.place() != nil {
		all = append(all, form{GeoJSONFile, "application/geo+json", true, of(writeGeoJSON)})
	}
	return all
}

func writeSchema(_ context.Context, _ *Table, m *Manifest, w io.Writer) error {
	text, err := canonical(tableOf(m))
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// Package ckan says datasets as packages of CKAN: what a push by its action API
// has to change, and what a program that reads a CKAN may ask of us. It is handed
// snapshots and gives bytes' shapes; who fetches, pushes and tries again is not
// its concern.
package ckan

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Package is a dataset as CKAN has it.
type Package struct {
	ID               string        `json:"id,omitempty"`
	Name             string        `json:"name"`
	Title            string        `json:"title"`
	Notes            string        `json:"notes"`
	URL              string        `json:"url"`
	Type             string        `json:"type"`
	State            string        `json:"state"`
	Private          bool          `json:"private"`
	LicenseURL       string        `json:"license_url"`
	Maintainer       string        `json:"maintainer"`
	MaintainerEmail  string        `json:"maintainer_email"`
	OwnerOrg         string        `json:"owner_org,omitempty"`
	Organization     *Organization `json:"organization,omitempty"`
	MetadataCreated  string        `json:"metadata_created,omitempty"`
	MetadataModified string        `json:"metadata_modified,omitempty"`
	Tags             []Tag         `json:"tags"`
	Extras           []Extra       `json:"extras"`
	Resources        []Resource    `json:"resources"`
	NumTags          int           `json:"num_tags"`
	NumResources     int           `json:"num_resources"`
}

// Organization is who provides.
type Organization struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Tag is a keyword.
type Tag struct {
	Name string `json:"name"`
}

// Extra is a field that CKAN has no name for.
type Extra struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Resource is a distribution.
type Resource struct {
	ID          string `json:"id,omitempty"`
	PackageID   string `json:"package_id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
	URL         string `json:"url"`
	Format      string `json:"format"`
	MediaType   string `json:"mimetype"`
	Size        int64  `json:"size"`
	Hash        string `json:"hash"` // SHA-256 in hexadecimal
	Position    int    `json:"position"`
	State       string `json:"state"`
	// URI is the address of the distribution in the catalogue, by which it is
	// found again.
	URI string `json:"uri"`
}

// Destination is a CKAN that packages are pushed to.
type Destination struct {
	// Prefix stands before the id of a dataset in its name there, so that it
	// cannot be that of another: 2 to 30 of a-z, 0-9, - and _.
	Prefix string
	// Organization is the name or id of ours there.
	Organization string
}

var (
	prefix       = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{1,29}$`)
	organization = regexp.MustCompile(`^[A-Za-z0-9_-]{2,100}$`)
)

// Check returns what is wrong with the destination.
func (d Destination) Check(path string) []strict.Error {
	var es []strict.Error
	if !prefix.MatchString(d.Prefix) {
		es = append(es, strict.Fault(path, "prefix", "%.40q is no beginning of names: it has 2 to 30 of a-z, 0-9, - and _, such as songhua-", d.Prefix))
	}
	if !organization.MatchString(d.Organization) {
		es = append(es, strict.Fault(path, "organization", "%.110q is no name of an organization; the address of its page in that CKAN ends with it", d.Organization))
	}
	return es
}

// Name is the name of a dataset's package: ASCII, at most 93 characters of the
// 100 that CKAN takes, and never changed.
func (d Destination) Name(dataset string) string { return d.Prefix + dataset }

// Push is the package of an entry as it is to be at the destination. What CKAN
// keeps itself, its ids and times, is left out.
func (d Destination) Push(e *catalog.Entry, base catalog.Base) Package {
	p := of(e, base)
	p.Name, p.OwnerOrg = d.Name(e.Dataset.ID), d.Organization
	p.NumTags, p.NumResources = 0, 0
	return p
}

// show is the package of an entry as our own API gives it.
func show(e *catalog.Entry, base catalog.Base) Package {
	p, d := of(e, base), e.Dataset
	p.ID, p.Name = ID(base.Dataset(d.ID)), d.ID
	p.Organization = &Organization{ID: ID(base.Provider(d.Provider.Code)), Name: strings.ToLower(string(d.Provider.Code)), Title: either(d.Provider.Name)}
	p.OwnerOrg = p.Organization.ID
	p.MetadataCreated, p.MetadataModified = moment(d.Created), moment(d.Modified)
	for i := range p.Resources {
		r := &p.Resources[i]
		r.ID, r.PackageID, r.State = ID(r.URI), p.ID, "active"
	}
	return p
}

// of is what both have in common.
func of(e *catalog.Entry, base catalog.Base) Package {
	d := e.Dataset
	licence, _ := catalog.Link(d.Licence)
	p := Package{Name: d.ID, Title: either(d.Title), Notes: either(d.Abstract), URL: base.Dataset(d.ID), Type: "dataset", State: "active",
		LicenseURL: licence, Maintainer: either(d.Contact.Name), MaintainerEmail: d.Contact.Email, Tags: tags(d.Keywords), Extras: extras(e, base), Resources: resources(e, base)}
	p.NumTags, p.NumResources = len(p.Tags), len(p.Resources)
	return p
}

// either is the Chinese text, or the English one where there is no other.
func either(t catalog.Text) string {
	if t.ZH != "" {
		return t.ZH
	}
	return t.EN
}

// moment is a time as CKAN writes it: UTC without a zone.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

// ID is the id of what has an address: UUID version 5 (RFC 9562) in the
// namespace of URLs, so that everybody who makes it makes the same.
func ID(address string) string {
	namespace := [16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}
	h := sha1.Sum(append(namespace[:], address...))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	s := hex.EncodeToString(h[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// tags are those keywords that CKAN takes: 2 to 100 letters and digits of any
// script, spaces and -_. ; what else is in one is left out.
func tags(keywords []catalog.Text) []Tag {
	all, seen := []Tag{}, map[string]bool{}
	for _, k := range keywords {
		for _, s := range []string{k.ZH, k.EN} {
			s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
				if unicode.IsLetter(r) || unicode.IsDigit(r) || r == ' ' || r == '-' || r == '_' || r == '.' {
					return r
				}
				return -1
			}, s)), " ")
			if n := utf8.RuneCountInString(s); n >= 2 && n <= 100 && !seen[s] {
				seen[s] = true
				all = append(all, Tag{s})
			}
		}
	}
	return all
}

// extras are the fields of the catalogue that CKAN has no names for; those
// without a value are left out. uri and guid are what ckanext-dcat calls them.
func extras(e *catalog.Entry, base catalog.Base) []Extra {
	all, d := []Extra{}, e.Dataset
	add := func(key, value string) {
		if value != "" {
			all = append(all, Extra{key, value})
		}
	}
	add("uri", base.Dataset(d.ID))
	add("identifier", d.Code)
	add("title_en", d.Title.EN)
	add("publisher_name", either(d.Provider.Name))
	add("publisher_identifier", string(d.Provider.Code))
	add("class_path", strings.TrimRight(strings.Join(d.Path[:], "/"), "/"))
	add("share_class", string(d.Share.Class))
	add("share_condition", either(d.Share.Condition))
	add("open_class", string(d.Open.Class))
	add("open_condition", either(d.Open.Condition))
	add("legal_basis", basis(d))
	add("grade", d.Grade.String())
	add("personal_data", strconv.FormatBool(d.Personal))
	add("update_cycle", string(d.Cycle.Kind))
	if d.Cycle.Period > 0 {
		add("update_period", d.Cycle.Period.String())
	}
	add("contact_phone", d.Contact.Phone)
	add("last_correction", lastCorrection(e))
	return all
}

// lastCorrection says which version was the last to replace another, and why. It may
// be of any day: resources are of the newest one alone.
func lastCorrection(e *catalog.Entry) string {
	if e.Dataset.Open.Class == catalog.None {
		return ""
	}
	for i := len(e.Releases) - 1; i >= 0; i-- {
		if r := &e.Releases[i]; r.Replaces > 0 {
			return fmt.Sprintf("第 %d 版 / version %d, %s", r.Version, r.Version, r.Period.From.UTC().Format(time.RFC3339)) + corrects(r)
		}
	}
	return ""
}

// corrects says what a release replaces, and why; empty: nothing.
func corrects(r *catalog.Release) string {
	if r == nil || r.Replaces == 0 {
		return ""
	}
	why := either(r.Reason)
	if r.Reason.EN != "" && r.Reason.EN != why {
		why += " / " + r.Reason.EN
	}
	return fmt.Sprintf("；替代第 %d 版 / replaces version %d: %s", r.Replaces, r.Replaces, why)
}

func basis(d *catalog.Dataset) string {
	var all []string
	seen := map[string]bool{}
	for _, laws := range [][]catalog.Law{d.Share.Basis, d.Open.Basis} {
		for _, l := range laws {
			if s := either(l.Title) + l.Article; !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return strings.Join(all, "; ")
}

var formats = map[string]string{"text/csv": "CSV", "application/json": "JSON", "application/geo+json": "GeoJSON", "application/vnd.apache.parquet": "Parquet", "application/x-ndjson": "NDJSON"}

// resources are the files of the newest release and the interfaces. Of what is
// not opened to everybody, the address is the page to apply on.
func resources(e *catalog.Entry, base catalog.Base) []Resource {
	all := []Resource{}
	d := e.Dataset
	add := func(of *catalog.Release, f *catalog.Distribution, uri, url string) {
		r := Resource{Name: f.Name, URL: url, Format: formats[f.MediaType], MediaType: f.MediaType, Position: len(all), URI: uri}
		if !f.Live() {
			r.Size, r.Hash = f.Size, hex.EncodeToString(f.SHA256[:])
			r.Description = fmt.Sprintf("%d 行 / %d rows", f.Rows, f.Rows) + corrects(of)
		}
		all = append(all, r)
	}
	release, live := e.Offered()
	if release != nil {
		for i := range release.Files {
			f := &release.Files[i]
			at := base.File(d.ID, release.Version, f.Name)
			url := at
			if d.Open.Class != catalog.Unconditional {
				url = base.Dataset(d.ID)
			}
			add(release, f, at+"#distribution", url)
		}
	}
	for i := range live {
		f := &live[i]
		url, ok := catalog.Link(f.URL)
		if !ok {
			url = base.Dataset(d.ID)
		}
		add(nil, f, base.Interface(d.ID, f.Name)+"#distribution", url)
	}
	return all
}

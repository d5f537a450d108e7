package ckan

import (
	"cmp"
	"slices"
)

// Patch is what package_patch is told: of the package named by ID, the fields
// that are there. CKAN replaces lists whole.
type Patch struct {
	ID              string      `json:"id"`
	Name            *string     `json:"name,omitempty"`
	Title           *string     `json:"title,omitempty"`
	Notes           *string     `json:"notes,omitempty"`
	URL             *string     `json:"url,omitempty"`
	State           *string     `json:"state,omitempty"`
	Private         *bool       `json:"private,omitempty"`
	LicenseURL      *string     `json:"license_url,omitempty"`
	Maintainer      *string     `json:"maintainer,omitempty"`
	MaintainerEmail *string     `json:"maintainer_email,omitempty"`
	OwnerOrg        *string     `json:"owner_org,omitempty"`
	Tags            *[]Tag      `json:"tags,omitempty"`
	Extras          *[]Extra    `json:"extras,omitempty"`
	Resources       *[]Resource `json:"resources,omitempty"`
	// Fields are the names of those that differ, for people who ask what drifted.
	Fields []string `json:"-"`
}

// Empty reports that nothing differs: pushing again changes nothing.
func (p *Patch) Empty() bool { return len(p.Fields) == 0 }

// Diff is what makes of a package, as the CKAN shows it, the one that we want.
// What others added there is theirs and stays: extras by keys that we do not
// use. A resource is found again by its URI and keeps its id, so that links to
// it and its data store go on.
func Diff(is, want *Package) Patch {
	p := Patch{ID: is.ID}
	p.Name = differs(&p, "name", is.Name, want.Name)
	p.Title = differs(&p, "title", is.Title, want.Title)
	p.Notes = differs(&p, "notes", is.Notes, want.Notes)
	p.URL = differs(&p, "url", is.URL, want.URL)
	p.State = differs(&p, "state", is.State, want.State)
	p.Private = differs(&p, "private", is.Private, want.Private)
	p.LicenseURL = differs(&p, "license_url", is.LicenseURL, want.LicenseURL)
	p.Maintainer = differs(&p, "maintainer", is.Maintainer, want.Maintainer)
	p.MaintainerEmail = differs(&p, "maintainer_email", is.MaintainerEmail, want.MaintainerEmail)
	if is.Organization == nil || is.Organization.Name != want.OwnerOrg {
		p.OwnerOrg = differs(&p, "owner_org", is.OwnerOrg, want.OwnerOrg)
	}
	if byName := func(a, b Tag) int { return cmp.Compare(a.Name, b.Name) }; !slices.Equal(slices.SortedFunc(slices.Values(is.Tags), byName), slices.SortedFunc(slices.Values(want.Tags), byName)) {
		p.Tags = &want.Tags
		p.Fields = append(p.Fields, "tags")
	}
	p.extras(is.Extras, want.Extras)
	p.resources(is.Resources, want.Resources)
	return p
}

func differs[T comparable](p *Patch, field string, is, want T) *T {
	if is == want {
		return nil
	}
	p.Fields = append(p.Fields, field)
	return &want
}

// ours are the keys that extras gives, with a value or without.
var ours = []string{"uri", "identifier", "title_en", "publisher_name", "publisher_identifier", "class_path", "share_class", "share_condition", "open_class", "open_condition",
	"legal_basis", "grade", "personal_data", "update_cycle", "update_period", "contact_phone", "last_correction"}

func (p *Patch) extras(is, want []Extra) {
	all := slices.Clone(want)
	for _, x := range is {
		if !slices.Contains(ours, x.Key) {
			all = append(all, x)
		}
	}
	byKey := func(a, b Extra) int { return cmp.Compare(a.Key, b.Key) }
	if !slices.Equal(slices.SortedFunc(slices.Values(is), byKey), slices.SortedFunc(slices.Values(all), byKey)) {
		p.Extras = &all
		p.Fields = append(p.Fields, "extras")
	}
}

func (p *Patch) resources(is, want []Resource) {
	all := make([]Resource, 0, len(want))
	same := len(is) == len(want)
	for i, w := range want {
		at := slices.IndexFunc(is, func(r Resource) bool { return r.URI == w.URI })
		if at < 0 {
			same = false
			all = append(all, w)
			continue
		}
		was := is[at]
		w.ID, w.PackageID, w.State = was.ID, was.PackageID, was.State
		same = same && was == w && at == i
		all = append(all, w)
	}
	if !same {
		p.Resources = &all
		p.Fields = append(p.Fields, "resources")
	}
}

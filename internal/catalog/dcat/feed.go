// Package dcat says the public catalogue in DCAT-AP 3: as Turtle, JSON-LD and
// RDF/XML, of which every one carries the same triples. A page is complete: it
// has its datasets whole and describes no other, every address is under the
// configured base or somebody else's, and every term it uses is said on it.
// Art. 32
package dcat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/songhua-io/hub/internal/catalog"
)

// PerPage is how many datasets a page has. At 1,000 items among them, which is
// far more than is usual, it stays below a megabyte; harvesters take 50.
const PerPage = 100

// About is what is said of the catalogue itself. Title, abstract and publisher
// must be there: DCAT-AP asks for them.
type About struct {
	Base            catalog.Base
	Title, Abstract catalog.Text
	Publisher       catalog.Provider
}

// page is a graph that is being made.
type page struct {
	g         *Graph
	base      catalog.Base
	known     func(dataset string) bool
	services  map[string]*catalog.Service
	catalogue *node // nil: of a page of changes
	still     bool  // leaves out what moves by itself
}

// perDataset is how many nodes a dataset usually has.
const perDataset = 24

func (a *About) page(datasets int, s []catalog.Service, known func(string) bool) *page {
	p := &page{g: newGraph(a.Base.Vocabulary(), perDataset*(datasets+1)), base: a.Base, known: known, services: make(map[string]*catalog.Service, len(s))}
	for i := range s {
		p.services[s[i].ID] = &s[i]
	}
	return p
}

// Pages is how many pages a snapshot has: an empty one has one, too.
func Pages(s *catalog.Snapshot) int { return max((len(s.Entries)+PerPage-1)/PerPage, 1) }

// Address is where a page of a snapshot is, from 1. It stays the same, and says
// the same, as long as the snapshot is kept.
func (a *About) Address(f Format, snapshot int64, page int) string {
	return a.Base.Catalogue() + "." + f.Suffix + "?snapshot=" + strconv.FormatInt(snapshot, 10) + "&page=" + strconv.Itoa(page)
}

// Page is a page of a snapshot, from 1. The addresses of its neighbours are
// those of the same format, for harvesters choose the format once.
func (a *About) Page(f Format, s *catalog.Snapshot, number int) (*Graph, error) {
	if number < 1 || number > Pages(s) {
		return nil, fmt.Errorf("there is no page %d: snapshot %d has the pages 1 to %d", number, s.Number, Pages(s))
	}
	own := entries(s, number)
	p := a.page(len(own), s.Services, func(id string) bool { return s.Find(id) != nil })
	a.view(p, f, s, number)
	a.catalogue(p)
	for _, e := range own {
		p.catalogue.append("dcat:dataset", to(a.Base.Dataset(e.Dataset.ID)))
		p.catalogue.append("dcat:record", to(a.Base.Record(e.Dataset.ID)))
		p.dataset(e)
	}
	return p.g, nil
}

func entries(s *catalog.Snapshot, page int) []*catalog.Entry {
	from := min((page-1)*PerPage, len(s.Entries))
	return s.Entries[from:min(from+PerPage, len(s.Entries))]
}

// view says where the page stands among the others.
func (a *About) view(p *page, f Format, s *catalog.Snapshot, number int) {
	at := func(page int) object { return to(a.Address(f, s.Number, page)) }
	v := p.g.a(a.Address(f, s.Number, number), "hydra:PartialCollectionView")
	v.append("hydra:totalItems", of("xsd:integer", strconv.Itoa(len(s.Entries))))
	v.append("hydra:first", at(1))
	v.append("hydra:last", at(Pages(s)))
	if number > 1 {
		v.append("hydra:previous", at(number-1))
	}
	if number < Pages(s) {
		v.append("hydra:next", at(number+1))
	}
}

func (a *About) catalogue(p *page) {
	p.catalogue = p.g.a(a.Base.Catalogue(), "dcat:Catalog")
	p.catalogue.both("dct:title", a.Title.ZH, a.Title.EN)
	p.catalogue.both("dct:description", a.Abstract.ZH, a.Abstract.EN)
	p.catalogue.append("dct:publisher", p.provider(a.Publisher))
	p.catalogue.append("rdfs:seeAlso", to(a.Base.Vocabulary()))
}

// Digest is of what persons decided of an entry: its record, its newest release
// and its interfaces. What moves by itself is not in it: coverage, measurements,
// and the time of the newest data. It costs as much as writing the entry, and
// whoever keeps entries keeps it with them.
func (a *About) Digest(e *catalog.Entry, services []catalog.Service) [32]byte {
	p := a.page(1, services, func(string) bool { return true })
	p.still = true
	p.dataset(e)
	return sha256.Sum256(p.g.turtle(nil))
}

// Tag is of the digests of all entries of a snapshot; it is made once for each.
func (a *About) Tag(s *catalog.Snapshot, digest func(*catalog.Entry) [32]byte) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", *a, s.Services)
	for _, e := range s.Entries {
		d := digest(e)
		h.Write(d[:])
	}
	return [32]byte(h.Sum(nil))
}

// ETag is the tag of a page, a weak one, made of that of its snapshot: so that
// "not modified" of the first page says that the others are not, either, and
// whose links are older than the snapshots that are kept need not follow them.
func ETag(f Format, tag [32]byte, page int) string {
	return `W/"` + hex.EncodeToString(tag[:16]) + "-" + strconv.Itoa(page) + "-" + f.Suffix + `"`
}

// PerChanges is how many changes a page of them has.
const PerChanges = 500

// ChangesAddress is where the changes after a number are. It is never that of
// the catalogue: to a harvester, what a catalogue lacks has been deleted.
func (a *About) ChangesAddress(f Format, after int64) string {
	return a.Base.Catalogue() + "/changes." + f.Suffix + "?after=" + strconv.FormatInt(after, 10)
}

// Changes says what became of the catalogue after a number: every dataset whole
// as it is since, as an as:Update, or an as:Delete where it is gone. Changes are in the
// order of their numbers, PerChanges at most, and more says that others follow;
// of several of one dataset the last is said, for the others are past.
func (a *About) Changes(f Format, after int64, changes []catalog.Change, services []catalog.Service, known func(dataset string) bool, more bool) *Graph {
	p := a.page(len(changes), services, known)
	v := p.g.a(a.ChangesAddress(f, after), "hydra:PartialCollectionView")
	if more && len(changes) > 0 {
		v.append("hydra:next", to(a.ChangesAddress(f, changes[len(changes)-1].Number)))
	}
	last := make(map[string]int64, len(changes))
	for _, c := range changes {
		last[c.Dataset] = c.Number
	}
	for i := range changes {
		if c := &changes[i]; last[c.Dataset] == c.Number {
			p.change(v, c)
		}
	}
	return p.g
}

func (p *page) change(v *node, c *catalog.Change) {
	gone := c.Entry == nil || c.Entry.Dataset.State != catalog.Published
	kind := name("as:Update")
	if gone {
		kind = "as:Delete"
	}
	n := p.g.a(p.base.Catalogue()+"/changes/"+strconv.FormatInt(c.Number, 10), kind)
	v.append("hydra:member", to(n.id))
	n.append("as:object", to(p.base.Dataset(c.Dataset)))
	n.when("as:published", c.At)
	n.both("as:summary", c.Reason.ZH, c.Reason.EN)
	if !gone {
		p.dataset(c.Entry)
	}
}

// Entry says one dataset whole, as a page has it.
func (a *About) Entry(e *catalog.Entry, services []catalog.Service, known func(dataset string) bool) *Graph {
	p := a.page(1, services, known)
	p.dataset(e)
	return p.g
}

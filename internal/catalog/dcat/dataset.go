package dcat

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// longestName is how much of a title CKAN makes a name of, in characters: 100
// less the suffix that it may add.
const longestName = 95

// Title is a title that carries the dataset's id. Harvesters make names of
// titles, from ASCII alone and cut: without the id 路面温度监测数据 becomes "__",
// like a hundred others. The id stands last, or first where the cut would take
// it.
func Title(title, id string) string {
	title = strings.TrimSpace(title)
	switch {
	case title == "":
		return id
	case len(title)+len(id)+3 <= longestName:
		return title + " (" + id + ")"
	}
	return id + ": " + title
}

// dataset says all of an entry.
func (p *page) dataset(e *catalog.Entry) {
	d, id := e.Dataset, p.base.Dataset(e.Dataset.ID)
	n := p.g.a(id, "dcat:Dataset", "dcat:Resource")
	n.properties = slices.Grow(n.properties, 48)
	n.append("dct:title", in("zh", Title(d.Title.ZH, d.ID)))
	if strings.TrimSpace(d.Title.EN) != "" {
		n.append("dct:title", in("en", Title(d.Title.EN, d.ID)))
	}
	n.both("dct:description", d.Abstract.ZH, d.Abstract.EN)
	if strings.TrimSpace(d.Abstract.ZH+d.Abstract.EN) == "" {
		n.append("dct:description", in("zh", d.ID))
	}
	if d.Code != "" {
		n.append("dct:identifier", plain(d.Code))
	} else {
		n.append("dct:identifier", plain(d.ID))
	}
	for _, k := range d.Keywords {
		n.both("dcat:keyword", k.ZH, k.EN)
	}
	n.append("dct:publisher", p.provider(d.Provider))
	p.contact(n, id, d.Contact)
	p.theme(n, d.Path)
	n.append("dcat:landingPage", p.document(id+"#page"))
	p.rights(n, d)
	p.times(n, d)
	p.items(n, id, d)
	if !p.still {
		n.when("dct:modified", d.Data)
		p.coverage(n, id, e.Coverage)
		p.quality(n, id, e.Measurements)
	}
	for _, r := range d.Related {
		// A related dataset is named, never described: a page holds the datasets
		// of its own, whole.
		if p.known(r) {
			n.add("dct:relation", to(p.base.Dataset(r)))
		}
	}
	p.distributions(n, e)
	p.record(d, id)
}

func (p *page) record(d *catalog.Dataset, id string) {
	r := p.g.a(p.base.Record(d.ID), "dcat:CatalogRecord")
	r.append("foaf:primaryTopic", to(id))
	r.append("dct:modified", modified(d))
	r.when("dct:issued", d.Created)
}

// epoch stands for a time of a record that nobody knows: DCAT-AP asks for one.
var epoch = time.Unix(0, 0)

// modified is when a person changed the record last. What is measured, or moves
// with the data, does not count.
func modified(d *catalog.Dataset) object {
	for _, t := range []time.Time{d.Modified, d.Published, d.Created} {
		if o, ok := instant(t); ok {
			return o
		}
	}
	o, _ := instant(epoch)
	return o
}

func (p *page) provider(is catalog.Provider) object {
	id := p.base.Provider(is.Code)
	n := p.g.a(id, "foaf:Agent")
	n.both("foaf:name", is.Name.ZH, is.Name.EN)
	if strings.TrimSpace(is.Name.ZH+is.Name.EN) == "" {
		n.add("foaf:name", plain(string(is.Code)))
	}
	if is.Code != "" {
		n.add("dct:identifier", plain(string(is.Code)))
	}
	return to(id)
}

func (p *page) document(id string) object {
	p.g.a(id, "foaf:Document")
	return to(id)
}

// What is no ordinary mailbox or number is left out of addresses.
var (
	mailbox = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)
	digits  = regexp.MustCompile(`^\+?[0-9-]+$`)
)

func (p *page) contact(n *node, id string, c catalog.Contact) {
	k := p.g.a(id+"#contact", "vcard:Kind")
	n.append("dcat:contactPoint", to(k.id))
	k.both("vcard:fn", c.Name.ZH, c.Name.EN)
	if mailbox.MatchString(c.Email) {
		k.append("vcard:hasEmail", to("mailto:"+c.Email))
	}
	if tel := strings.ReplaceAll(c.Phone, " ", "-"); digits.MatchString(tel) {
		k.append("vcard:hasTelephone", to("tel:"+tel))
	}
}

// theme says where in the classification it stands: at its deepest place.
func (p *page) theme(n *node, path catalog.Path) {
	depth := 0
	for depth < len(path) && strings.TrimSpace(path[depth]) != "" {
		depth++
	}
	if depth == 0 {
		return
	}
	c, fresh := p.g.about(p.base.Class(path, depth))
	if fresh {
		c.append("rdf:type", is("skos:Concept"))
		c.append("skos:prefLabel", in("zh", strings.Join(path[:depth], "/")))
	}
	n.append("dcat:theme", to(c.id))
}

// rights says how far the dataset is shared and opened, by which law, and how
// delicate it is.
func (p *page) rights(n *node, d *catalog.Dataset) {
	right, known := access[d.Open.Class]
	if !known {
		right = access[catalog.None]
	}
	n.append("dct:accessRights", p.g.code(right))
	n.append("hub:shareClass", p.g.class(&sharing, d.Share.Class))
	n.append("hub:openClass", p.g.class(&opening, d.Open.Class))
	n.append("hub:grade", p.g.grade(d.Grade))
	n.append("hub:personalData", of("xsd:boolean", strconv.FormatBool(d.Personal)))
	n.both("hub:shareCondition", d.Share.Condition.ZH, d.Share.Condition.EN)
	n.both("hub:shareScope", d.Share.Scope.ZH, d.Share.Scope.EN)
	n.both("hub:sharePurpose", d.Share.Purpose.ZH, d.Share.Purpose.EN)
	if d.Retention > 0 {
		n.append("hub:retention", duration(d.Retention))
	}
	for _, basis := range [][]catalog.Law{d.Share.Basis, d.Open.Basis} {
		for _, l := range basis {
			n.add("dcatap:applicableLegislation", p.law(l))
		}
	}
}

func (p *page) law(l catalog.Law) object {
	n, fresh := p.g.about(p.base.Law(l))
	if fresh {
		n.append("rdf:type", is("eli:LegalResource"))
	}
	n.both("dct:title", strings.TrimSpace(l.Title.ZH+" "+l.Article), l.Title.EN)
	if link, ok := catalog.Link(l.URL); ok {
		n.add("rdfs:seeAlso", to(link))
	}
	return to(n.id)
}

func (p *page) times(n *node, d *catalog.Dataset) {
	n.when("dct:issued", d.Published)
	if f, ok := frequency(d.Cycle); ok {
		n.append("dct:accrualPeriodicity", p.g.code(f))
	}
	if d.Cycle.Period > 0 {
		n.append("hub:updatePeriod", duration(d.Cycle.Period))
	}
	if d.Source.Bin > 0 {
		n.append("dcat:temporalResolution", duration(d.Source.Bin))
	}
}

// duration is an xsd:duration in seconds, which unlike days and months always
// last as long.
func duration(d time.Duration) object {
	s := "PT" + strconv.FormatInt(int64(d/time.Second), 10)
	if rest := d % time.Second; rest != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%09d", rest), "0")
	}
	return of("xsd:duration", s+"S")
}

func (p *page) coverage(n *node, id string, c catalog.Coverage) {
	if c.Area != nil && c.Area.Sound() {
		at := p.g.a(id+"#area", "dct:Location")
		at.append("dcat:bbox", of("geo:wktLiteral", wkt(*c.Area)))
		n.append("dct:spatial", to(at.id))
	}
	p.period(n, id+"#period", c.Time)
}

// wkt is a box as a polygon, longitude first as in CRS84, counterclockwise.
func wkt(b catalog.Box) string {
	w, s, e, n := decimal(b.West), decimal(b.South), decimal(b.East), decimal(b.North)
	return "POLYGON((" + w + " " + s + "," + e + " " + s + "," + e + " " + n + "," + w + " " + n + "," + w + " " + s + "))"
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (p *page) period(n *node, id string, t catalog.Period) {
	from, begins := instant(t.From)
	until, ends := instant(t.To)
	if !begins && !ends || begins && ends && t.To.Before(t.From) {
		return
	}
	at := p.g.a(id, "dct:PeriodOfTime")
	if begins {
		at.append("dcat:startDate", from)
	}
	if ends {
		at.append("dcat:endDate", until)
	}
	n.append("dct:temporal", to(id))
}

// items says the columns, as the standard that the dataset conforms to.
func (p *page) items(n *node, id string, d *catalog.Dataset) {
	if len(d.Items) == 0 {
		return
	}
	s := p.g.a(id+"#items", "dct:Standard")
	s.both("dct:title", "信息项", "items")
	n.append("dct:conformsTo", to(s.id))
	for i := range d.Items {
		it := &d.Items[i]
		c := p.g.a(id+"#item-"+strconv.Itoa(i+1), "hub:Item")
		s.append("hub:item", to(c.id))
		c.append("hub:position", of("xsd:positiveInteger", strconv.Itoa(i+1)))
		c.append("hub:itemName", plain(it.Name))
		c.both("rdfs:label", it.Title.ZH, it.Title.EN)
		c.append("hub:itemType", plain(string(it.Type)))
		if it.Unit != "" {
			c.append("hub:unit", plain(it.Unit))
		}
		if it.Length > 0 {
			c.append("hub:itemLength", of("xsd:positiveInteger", strconv.Itoa(it.Length)))
		}
		c.append("hub:shareClass", p.g.class(&sharing, it.Share))
		c.append("hub:openClass", p.g.class(&opening, it.Open))
		c.append("hub:grade", p.g.grade(it.Grade))
		c.both("hub:emptyMeans", it.Empty.ZH, it.Empty.EN)
	}
}

// quality says the newest measurement of every dimension.
func (p *page) quality(n *node, id string, all []catalog.Measurement) {
	for _, d := range catalog.Dimensions() {
		var newest *catalog.Measurement
		for i := range all {
			m := &all[i]
			if m.Dimension == d && !math.IsNaN(m.Value) && !math.IsInf(m.Value, 0) && (newest == nil || m.At.After(newest.At)) {
				newest = m
			}
		}
		if newest == nil {
			continue
		}
		q := p.g.a(id+"#quality-"+string(d), "dqv:QualityMeasurement")
		q.append("dqv:isMeasurementOf", p.g.metric(d))
		q.append("dqv:computedOn", to(id))
		q.append("dqv:value", of("xsd:decimal", decimal(newest.Value)))
		q.when("prov:generatedAtTime", newest.At)
		n.append("dqv:hasQualityMeasurement", to(q.id))
	}
}

// distributions says in which forms it can be had.
func (p *page) distributions(n *node, e *catalog.Entry) {
	d, id := e.Dataset, p.base.Dataset(e.Dataset.ID)
	release, live := e.Offered()
	if release != nil {
		for i := range release.Files {
			f := &release.Files[i]
			at := p.base.File(d.ID, release.Version, f.Name)
			p.file(p.distribution(n, id, at, d, f), id, at, d, release, f)
		}
	}
	for i := range live {
		f := &live[i]
		p.live(p.distribution(n, id, p.base.Interface(d.ID, f.Name), d, f), id, f)
	}
}

// distribution says what files and interfaces have in common.
func (p *page) distribution(n *node, id, at string, d *catalog.Dataset, f *catalog.Distribution) *node {
	dn := p.g.a(at+"#distribution", "dcat:Distribution")
	n.append("dcat:distribution", to(dn.id))
	dn.append("dct:title", plain(f.Name))
	dn.append("dct:rights", p.statement(id, d))
	if licence, ok := catalog.Link(d.Licence); ok {
		p.g.a(licence, "dct:LicenseDocument")
		dn.append("dct:license", to(licence))
	}
	if mediaType.MatchString(f.MediaType) {
		media := "https://www.iana.org/assignments/media-types/" + f.MediaType
		p.g.a(media, "dct:MediaType")
		dn.append("dcat:mediaType", to(media))
	}
	if c, known := formats[f.MediaType]; known {
		dn.append("dct:format", p.g.code(c))
	}
	return dn
}

// statement is what a reader may do: how it is opened and on which condition.
func (p *page) statement(id string, d *catalog.Dataset) object {
	s := p.g.a(id+"#rights", "dct:RightsStatement")
	o := opening.concepts[1]
	if d.Open.Class == catalog.Unconditional {
		o = opening.concepts[0]
	}
	s.both("rdfs:label", o.zh, o.en)
	s.both("hub:openCondition", d.Open.Condition.ZH, d.Open.Condition.EN)
	s.both("hub:openScope", d.Open.Scope.ZH, d.Open.Scope.EN)
	s.both("hub:openPurpose", d.Open.Purpose.ZH, d.Open.Purpose.EN)
	return to(s.id)
}

var mediaType = regexp.MustCompile(`^[a-z]+/[a-z0-9][a-z0-9.+-]*$`)

// file says a file of the newest release. Who may have it without asking is
// told where to fetch it, all others where to apply: the page of the dataset.
func (p *page) file(n *node, id, at string, d *catalog.Dataset, r *catalog.Release, f *catalog.Distribution) {
	n.append("dcat:accessURL", to(id))
	if d.Open.Class == catalog.Unconditional {
		n.append("dcat:downloadURL", to(at))
	}
	n.append("dcatap:availability", p.g.code(kept))
	n.append("dcat:byteSize", of("xsd:nonNegativeInteger", strconv.FormatInt(max(f.Size, 0), 10)))
	n.append("hub:rows", of("xsd:nonNegativeInteger", strconv.FormatInt(max(f.Rows, 0), 10)))
	n.append("hub:release", of("xsd:integer", strconv.FormatInt(r.Version, 10)))
	n.when("dct:issued", r.Made)
	p.period(n, at+"#period", r.Period)
	sum := p.g.a(at+"#checksum", "spdx:Checksum")
	sum.append("spdx:algorithm", p.sha256())
	sum.append("spdx:checksumValue", of("xsd:hexBinary", hex.EncodeToString(f.SHA256[:])))
	n.append("spdx:checksum", to(sum.id))
}

func (p *page) sha256() object {
	n, fresh := p.g.about("http://spdx.org/rdf/terms#checksumAlgorithm_sha256")
	if fresh {
		n.append("rdf:type", is("spdx:ChecksumAlgorithm"))
	}
	return to(n.id)
}

func (p *page) live(n *node, id string, f *catalog.Distribution) {
	if link, ok := catalog.Link(f.URL); ok {
		n.append("dcat:accessURL", to(link))
	} else {
		n.append("dcat:accessURL", to(id))
	}
	n.append("dcatap:availability", p.g.code(available))
	s := p.services[f.Service]
	if s == nil {
		return
	}
	endpoint, ok := catalog.Link(s.Endpoint)
	if !ok {
		return
	}
	sn, fresh := p.g.about(p.base.Service(s.ID))
	if fresh {
		p.service(sn, s, endpoint)
	}
	sn.add("dcat:servesDataset", to(id))
	n.append("dcat:accessService", to(sn.id))
}

// service says a service. A page has those that its own datasets are read from,
// and says of each only which of these it serves.
func (p *page) service(n *node, s *catalog.Service, endpoint string) {
	n.append("rdf:type", is("dcat:DataService"))
	n.append("rdf:type", is("dcat:Resource"))
	n.both("dct:title", s.Title.ZH, s.Title.EN)
	if strings.TrimSpace(s.Title.ZH+s.Title.EN) == "" {
		n.append("dct:title", plain(s.ID))
	}
	n.append("dcat:endpointURL", to(endpoint))
	if link, ok := catalog.Link(s.Description); ok {
		n.append("dcat:endpointDescription", to(link))
	}
	if link, ok := catalog.Link(s.Standard); ok {
		p.g.a(link, "dct:Standard")
		n.append("dct:conformsTo", to(link))
	}
	if p.catalogue != nil {
		p.catalogue.append("dcat:service", to(n.id))
	}
}

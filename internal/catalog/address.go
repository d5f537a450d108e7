package catalog

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Base is where all addresses of the catalogue begin. It is configured and
// never taken from a request: a dataset is known by its address, and a catalogue
// under another base is, to those who harvest it, another catalogue.
type Base string

// ParseBase reads a base such as https://data.example.gov.cn.
func ParseBase(s string) (Base, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Host[0] == '[' || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "" {
		return "", fmt.Errorf("%.200q is no base of addresses: write scheme and host, such as https://data.example.gov.cn, a name and no address of IPv6, without query, fragment or user", s)
	}
	return Base(strings.TrimRight(escaped(u), "/")), nil
}

// Catalogue is the address of the catalogue itself.
func (b Base) Catalogue() string { return string(b) + "/catalog" }

// Dataset is the address of a dataset, and of its page.
func (b Base) Dataset(id string) string { return string(b) + "/catalog/dataset/" + id }

// Record is the address of what is said of a dataset.
func (b Base) Record(id string) string { return string(b) + "/catalog/record/" + id }

// Provider is the address of a provider.
func (b Base) Provider(code CreditCode) string {
	return string(b) + "/catalog/provider/" + segment(string(code))
}

// Service is the address of a service.
func (b Base) Service(id string) string { return string(b) + "/catalog/service/" + segment(id) }

// Law is the address of a legal basis.
func (b Base) Law(l Law) string {
	return string(b) + "/catalog/law/" + segment(l.Title.ZH) + "/" + segment(l.Article)
}

// Class is the address of a place in the classification, down to a depth.
func (b Base) Class(p Path, depth int) string {
	at := string(b) + "/catalog/class"
	for _, s := range p[:depth] {
		at += "/" + segment(s)
	}
	return at
}

// Release is the address of a release.
func (b Base) Release(id string, version int64) string {
	return b.Dataset(id) + "/release/" + strconv.FormatInt(version, 10)
}

// File is the address of a file of a release.
func (b Base) File(id string, version int64, name string) string {
	return b.Release(id, version) + "/" + segment(name)
}

// Interface is the address of a live interface of a dataset as an entry of the
// catalogue; where data are read from it is its URL.
func (b Base) Interface(id, name string) string {
	return b.Dataset(id) + "/interface/" + segment(name)
}

// Vocabulary is where the words of our own are.
func (b Base) Vocabulary() string { return string(b) + "/catalog/vocabulary" }

// Link makes an address of what a person wrote; not ok: it is none. Characters
// that addresses cannot have are escaped. Hosts are named: not every reader of
// the catalogue can read an address of IPv6.
func Link(s string) (link string, ok bool) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Host[0] == '[' || u.Opaque != "" {
		return "", false
	}
	return escaped(u), true
}

// segment writes a text as one part of a path. Dots alone are escaped: readers
// of addresses take them for "here" and "above".
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// escaped writes an address in the characters of RFC 3986 and without "here" and
// "above" in its path: what url.URL leaves as it came, a query above all, is
// escaped byte by byte.
func escaped(u *url.URL) string {
	const allowed = "-._~:/?#@!$&'()*+,;=%"
	s := new(url.URL).ResolveReference(u).String()
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte(allowed, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

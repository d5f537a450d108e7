package login

import (
	"slices"
	"strings"
	"unicode"

	"github.com/songhua-io/hub/internal/access"
)

// claims are what an issuer says of a person, as JSON has it.
type claims map[string]any

// merge adds to what a signed token says what the issuer's userinfo says beyond
// it. An e-mail address keeps only the word of who gave it.
func (c claims) merge(info claims) {
	if _, ok := c["email"]; ok && c["email"] != info["email"] {
		delete(info, "email_verified")
	}
	for name, v := range info {
		if _, ok := c[name]; !ok {
			c[name] = v
		}
	}
}

// values returns the texts of a claim: of the name as it is, else of the path
// whose parts stand between dots. An address that is not verified is no value.
func (c claims) values(name string) []string {
	if name == "email" && !c.verified() {
		return nil
	}
	return texts(c.lookup(name))
}

func (c claims) lookup(name string) any {
	if v, ok := c[name]; ok {
		return v
	}
	first, rest, _ := strings.Cut(name, ".")
	inner, ok := c[first].(map[string]any)
	if !ok {
		return nil
	}
	return claims(inner).lookup(rest)
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// verified reports whether the issuer stands for the person's e-mail address;
// some write true in quotes.
func (c claims) verified() bool { return c["email_verified"] == true || c["email_verified"] == "true" }

// one returns the text of a claim that has one.
func (c claims) one(name string) string {
	if all := c.values(name); len(all) == 1 {
		return all[0]
	}
	return ""
}

// grant decides what a person may do; false for nothing.
func (c Config) grant(of claims) (access.Role, string, bool) {
	for _, g := range c.Grants {
		if slices.Contains(of.values(g.Claim), g.Value) {
			return g.Role, g.Region, true
		}
	}
	if c.RoleClaim == "" {
		return "", "", false
	}
	held := of.values(c.RoleClaim)
	for _, role := range roles {
		if !slices.Contains(held, string(role)) {
			continue
		}
		if c.RegionClaim == "" {
			return role, "", true
		}
		region := of.one(c.RegionClaim)
		return role, region, region != "" && regionPrefix.MatchString(region)
	}
	return "", "", false
}

// Bounds of what is taken over of a person, in bytes.
const (
	maxSubject = 255 // OpenID Connect Core, section 2
	maxName    = 120
)

// person is whom an issuer means.
type person struct {
	subject, name, shown string
}

// personOf names a person for the record: by a verified address, else by what
// never changes.
func personOf(issuer, subject string, of claims) person {
	p := person{subject: subject, name: clean(of.one("email"))}
	if !strings.Contains(p.name, "@") {
		p.name = clean(subject) + "@" + hostOf(issuer)
	}
	p.shown = p.name
	for _, claim := range []string{"name", "preferred_username"} {
		if s := clean(of.one(claim)); s != "" {
			p.shown = s
			break
		}
	}
	return p
}

// clean takes out what would not be seen, and cuts to a length that can be
// shown.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.TrimSpace(s))
	if len(s) <= maxName {
		return s
	}
	return strings.ToValidUTF8(s[:maxName], "")
}

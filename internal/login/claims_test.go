package login

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/access"
)

func TestGrants(t *testing.T) {
	byList := Config{Grants: []Grant{
		{"email", "chief@road.example", access.Admin, ""}, {"groups", "ops", access.Operator, "22"}, {"realm_access.roles", "watch", access.Reader, "2201"},
		{"https://road.example/level", "9", access.Steward, ""},
	}}
	byClaim := Config{RoleClaim: "role", RegionClaim: "region"}
	everywhere := Config{RoleClaim: "role"}
	for name, c := range map[string]struct {
		cfg    Config
		claims claims
		want   string
	}{
		"nothing":                    {byList, claims{}, "no"},
		"verified address":           {byList, claims{"email": "chief@road.example", "email_verified": true}, "admin"},
		"verified in quotes":         {byList, claims{"email": "chief@road.example", "email_verified": "true"}, "admin"},
		"unverified address":         {byList, claims{"email": "chief@road.example", "email_verified": false}, "no"},
		"address of unknown worth":   {byList, claims{"email": "chief@road.example"}, "no"},
		"the first that fits":        {byList, claims{"groups": []any{"ops"}, "realm_access": map[string]any{"roles": []any{"watch"}}}, "operator 22"},
		"inside another":             {byList, claims{"realm_access": map[string]any{"roles": []any{"x", "watch"}}}, "reader 2201"},
		"a name with dots":           {byList, claims{"https://road.example/level": "9"}, "steward"},
		"one text for a list":        {byList, claims{"groups": "ops"}, "operator 22"},
		"part of a value":            {byList, claims{"groups": "ops-other"}, "no"},
		"another case":               {byList, claims{"groups": "OPS"}, "no"},
		"a number":                   {byList, claims{"groups": 1.0}, "no"},
		"a role":                     {byClaim, claims{"role": "reader", "region": "2201"}, "reader 2201"},
		"a role without region":      {byClaim, claims{"role": "reader"}, "no"},
		"a role with empty region":   {byClaim, claims{"role": "reader", "region": ""}, "no"},
		"a role with two regions":    {byClaim, claims{"role": "reader", "region": []any{"22", "11"}}, "no"},
		"a role with an odd region":  {byClaim, claims{"role": "reader", "region": "2"}, "no"},
		"a role of no person":        {byClaim, claims{"role": "gateway", "region": "22"}, "no"},
		"an unknown role":            {byClaim, claims{"role": "king", "region": "22"}, "no"},
		"several roles":              {byClaim, claims{"role": []any{"reader", "admin"}, "region": "22"}, "admin 22"},
		"a role, not narrowed":       {everywhere, claims{"role": "reader"}, "reader"},
		"role_claim is not a prefix": {everywhere, claims{"roles": "reader"}, "no"},
	} {
		role, region, ok := c.cfg.grant(c.claims)
		got := "no"
		if ok {
			got = strings.TrimSpace(string(role) + " " + region)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestUserinfoDoesNotVerifyAnotherAddress(t *testing.T) {
	c := claims{"email": "chief@road.example"}
	c.merge(claims{"email": "me@elsewhere.example", "email_verified": true, "groups": "x"})
	if c.verified() || c["groups"] != "x" {
		t.Errorf("%v", c)
	}
	c = claims{"email": "a@road.example"}
	if c.merge(claims{"email": "a@road.example", "email_verified": true}); !c.verified() {
		t.Errorf("%v", c)
	}
}

func TestPeopleAreNotTakenForTokens(t *testing.T) {
	for _, c := range []claims{{}, {"email": "admin", "email_verified": true}, {"email": "x@y.example"}, {"preferred_username": "admin"}} {
		if p := personOf("https://login.example:8443/realms/x", "admin", c); p.name != "admin@login.example" {
			t.Errorf("%v: %+v", c, p)
		}
	}
	p := personOf("https://login.example", "1", claims{"email": "a@b.example", "email_verified": true, "name": "A\u202eB\n" + strings.Repeat("字", 100)})
	if p.name != "a@b.example" || !strings.HasPrefix(p.shown, "AB字") || len(p.shown) > maxName {
		t.Errorf("%+v", p)
	}
}

func TestTheWayBackLeadsToThesePagesOnly(t *testing.T) {
	for to, want := range map[string]string{
		"/": "/", "/?range=3600&metric=a": "/?metric=a&range=3600", "/catalog/x": "/catalog/x", "": "/",
		"//evil.example": "/", "///evil.example": "/evil.example", `/\evil.example`: "/", `\\evil.example`: "/", "https://evil.example/": "/", "javascript:alert(1)": "/",
		"/%2f%2fevil.example": "/evil.example", "/%5cevil.example": "/", "/.//evil.example": "/evil.example", "/\tevil": "/", "evil.example": "/", "//evil@hub": "/",
		"/signout": "/", "/signin/oidc": "/", "/?token=x&range=1": "/?range=1", "/\r\nSet-Cookie: a=b": "/", "http:/evil.example": "/",
		"/" + strings.Repeat("a", maxTarget): "/",
	} {
		if got := LocalPath(to); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
}

func TestNoAddressLeadsElsewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := LocalPath(rapid.StringOf(rapid.RuneFrom([]rune(`/\.:@?#%25fFcC09 evilhtps`+"\t\n"))).Draw(t, "to"))
		if !strings.HasPrefix(s, "/") || len(s) > 1 && (s[1] == '/' || s[1] == '\\') || strings.ContainsAny(s, "\\\t\n ") {
			t.Fatalf("leads to %q", s)
		}
	})
}

func TestConfigsThatLetNobodyOrAnybodyIn(t *testing.T) {
	good := func() Config {
		c := DefaultConfig()
		c.Issuer, c.ClientID, c.Grants = "https://login.example", "hub", []Grant{{"groups", "x", access.Reader, ""}}
		return c
	}
	if errs := good().Check("oidc"); len(errs) != 0 {
		t.Fatal(errs)
	}
	for want, change := range map[string]func(*Config){
		"is not https":            func(c *Config) { c.Issuer = "http://login.example" },
		"discovery document":      func(c *Config) { c.Issuer += "/.well-known/openid-configuration" },
		"is no URL":               func(c *Config) { c.Issuer = "login.example" },
		"client_id":               func(c *Config) { c.ClientID = "" },
		"lacks openid":            func(c *Config) { c.Scopes = []string{"email"} },
		"nobody who signs in":     func(c *Config) { c.Grants = nil },
		"needs role_claim":        func(c *Config) { c.RegionClaim = "region" },
		"keep one of them":        func(c *Config) { c.ClientSecretFile, c.ClientSecretEnv = "a", "HOME" },
		"is not set":              func(c *Config) { c.ClientSecretEnv = "NO_SUCH_SECRET_OF_SONGHUA" },
		"the rest of oidc does n": func(c *Config) { c.Issuer = "" },
	} {
		c := good()
		change(&c)
		errs := c.Check("oidc")
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want one that says %q", errs, want)
		}
	}
	for want, g := range map[string]Grant{
		"claim": {"", "x", access.Reader, ""}, "value": {"groups", "", access.Reader, ""}, "role": {"groups", "x", access.Gateway, ""}, "region": {"groups", "x", access.Reader, "220"},
	} {
		if errs := g.Check("g"); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%+v: %v", g, errs)
		}
	}
}

package web

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/search"
)

// catalogFunctions are those of the templates of the catalogue.
func catalogFunctions() template.FuncMap {
	return template.FuncMap{
		"tx": tx, "plain": plain, "ucum": ucum, "bytes": bytesName, "format": formatName, "licence": licenceName,
		"day": day, "stamp": stamp, "period": periodName, "spell": spell, "degrees": degrees, "lawHref": lawHref, "cycle": cycleName, "cycleOf": search.CycleOf,
		"count": func(n any) string {
			switch n := n.(type) {
			case int:
				return countName(int64(n))
			case int64:
				return countName(n)
			}
			return fmt.Sprint(n)
		},
		"region": func(tag, code string) string {
			l, _ := parseLang(tag)
			name := l.place(code)
			switch {
			case code == "":
				return ""
			case name == code:
				return code
			}
			return name + " " + code
		},
		"placeName": func(tag, code string) string { l, _ := parseLang(tag); return l.place(code) },
		"hex":       func(sum [32]byte) string { return hex.EncodeToString(sum[:]) },
		"hours":     func(d time.Duration) float64 { return d.Hours() },
		"ago": func(tag string, from, to time.Time) string {
			d := to.Sub(from)
			switch {
			case d >= 48*time.Hour:
				d = d.Truncate(24 * time.Hour)
			case d >= time.Hour:
				d = d.Truncate(time.Hour)
			default:
				d = d.Truncate(time.Minute)
			}
			return spell(tag, d)
		},
		"link": func(s string) string { to, _ := catalog.Link(s); return to },
		"dict": dict,
		"list": func(all ...any) []any { return all },
		"faults": func(f *form, paths ...any) (all []catalog.Problem) {
			if f == nil {
				return nil
			}
			seen := map[string]bool{}
			for _, path := range paths {
				if name, ok := path.(string); ok && !seen[name] {
					seen[name] = true
					all = append(all, f.Problems[name]...)
				}
			}
			return all
		},
		"saidBy": func(tag string, p catalog.Problem) string {
			if tag == english.tag() {
				return p.EN
			}
			return p.ZH
		},
		"colour": func(n int) string { return fmt.Sprintf("c%d", n%8) },
	}
}

// dict is what a part of a page is given: names and values by turns.
func dict(pairs ...any) (map[string]any, error) {
	all := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("%v is no name of a value for a part of a page", pairs[i])
		}
		all[name] = pairs[i+1]
	}
	return all, nil
}

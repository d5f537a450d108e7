package feed

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/catalog/dcat"
)

// negotiate answers in the form that the caller likes best; pages, where there
// are any, answer who likes HTML as much as any of them.
func (f *Feed) negotiate(pages http.Handler, answer func(dcat.Format) http.Handler) http.Handler {
	forms := dcat.Formats()
	handlers := make([]http.Handler, len(forms))
	types := make([]string, len(forms))
	for i, form := range forms {
		handlers[i], types[i] = answer(form), form.MediaType
	}
	if pages != nil {
		handlers, types = append([]http.Handler{pages}, handlers...), append([]string{"text/html"}, types...)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		handlers[best(strings.Join(r.Header.Values("Accept"), ","), types)].ServeHTTP(w, r)
	})
}

// best is the type that an Accept header (RFC 9110) likes best: the first of
// several, and also where it likes none, for an answer helps more than a refusal.
func best(accept string, types []string) (at int) {
	if strings.TrimSpace(accept) == "" {
		return 0
	}
	most := 0.0
	for i, t := range types {
		if q := quality(accept, t); q > most {
			at, most = i, q
		}
	}
	return at
}

// quality is how much a header likes a type, by the range that names it most
// closely.
func quality(accept, of string) (q float64) {
	family, _, _ := strings.Cut(of, "/")
	closest := -1
	for part := range strings.SplitSeq(accept, ",") {
		name, rest, _ := strings.Cut(part, ";")
		close := -1
		switch strings.ToLower(strings.TrimSpace(name)) {
		case of:
			close = 2
		case family + "/*":
			close = 1
		case "*/*":
			close = 0
		}
		if close <= closest {
			continue
		}
		closest, q = close, 1
		for p := range strings.SplitSeq(rest, ";") {
			if v, is := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q="); is {
				q, _ = strconv.ParseFloat(v, 64) // what is no number is 0
			}
		}
	}
	return q
}

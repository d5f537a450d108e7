package sensorthings

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// refusal is a request that is not answered, with the reason and the way out in
// both languages (RFC 9457).
type refusal struct {
	code   int
	limit  string // the budget that it met; empty when it met none
	zh, en string
}

func (r *refusal) Error() string { return r.en }

func (r *refusal) write(w http.ResponseWriter) {
	type text struct {
		ZH string `json:"zh"`
		EN string `json:"en"`
	}
	w.Header().Del("ETag")
	w.Header().Set("Content-Type", "application/problem+json")
	if r.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(r.code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct { // an error is told by what it is collected in
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Text   text   `json:"text"`
	}{http.StatusText(r.code), r.code, r.en, text{r.zh, r.en}})
}

// bad is 400: the request itself is wrong.
func bad(zh, en string, args ...any) *refusal {
	inZH := slices.Clone(args)
	for i, a := range inZH {
		if k, ok := a.(kind); ok {
			inZH[i] = k.zh()
		}
	}
	return &refusal{code: http.StatusBadRequest, zh: fmt.Sprintf(zh, inZH...), en: fmt.Sprintf(en, args...)}
}

// missing is 404. What a caller may not see is missing too.
func missing(set set, id string) *refusal {
	return &refusal{code: http.StatusNotFound, zh: fmt.Sprintf("没有 %s('%.200s')，或它不在可见范围内。", set.name(), id),
		en: fmt.Sprintf("there is no %s('%.200s'), or it may not be seen with this token", set.name(), id)}
}

func notServed(path string) *refusal {
	return &refusal{code: http.StatusNotFound, zh: fmt.Sprintf("没有路径 %.200s；根文档 %s 列出可用的集合。", path, Root),
		en: fmt.Sprintf("%.200s is not served; %s lists the collections", path, Root)}
}

package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
)

// maxCall bounds what is sent with a call of the CKAN API.
const maxCall = 64 << 10

// ckan answers a call of the action API over the current snapshot: parameters
// come in the address, or by POST in JSON or as a form, as CKAN has it.
func (f *Feed) ckan(w http.ResponseWriter, r *http.Request) {
	action := r.PathValue("action")
	q, err := parameters(w, r)
	status, body := http.StatusBadRequest, []byte(nil)
	if err == nil {
		status, body = f.Index().Call(action, q, string(f.about.Base)+"/ckan/api/3/action/help_show?name="+url.QueryEscape(action))
	} else if body, err = json.Marshal("Bad request - " + err.Error()); err != nil {
		panic(err) // a text
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Content-Type", "application/json;charset=utf-8") // as CKAN writes it
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

func parameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	q := r.URL.Query()
	if r.Method != http.MethodPost {
		return q, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	if err != nil {
		return nil, fmt.Errorf("the body has more than %d bytes, or broke off", maxCall)
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, errors.New("the body is no form")
		}
		return form, nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return q, nil
	}
	var in map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&in); err != nil {
		return nil, errors.New("JSON Error: Error decoding JSON data. It must be an object of parameters")
	}
	for name, v := range in {
		switch v := v.(type) {
		case string:
			q.Set(name, v)
		case json.Number:
			q.Set(name, v.String())
		case bool:
			q.Set(name, strconv.FormatBool(v))
		case nil:
		default:
			return nil, fmt.Errorf("%.40q must be a text or a number", name)
		}
	}
	return q, nil
}

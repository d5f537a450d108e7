package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/catalog/dcat"
)

// Route is a path that a feed answers.
type Route struct {
	// Pattern is as [http.ServeMux] takes it.
	Pattern string
	ZH, EN  string // what it is for, in one sentence
	Handler http.Handler
}

// Routes are all that a feed answers. Everybody may read them. At addresses of
// things that people read about, too, it answers in RDF those who ask for it, and
// all others by pages; nil: everybody in RDF.
func (f *Feed) Routes(pages http.Handler) []Route {
	thing := f.negotiate(pages, f.things)
	var all []Route
	for _, form := range dcat.Formats() {
		all = append(all, Route{"GET /catalog." + form.Suffix, "公共数据目录，DCAT-AP 3（" + form.MediaType + "），按快照分页", "The public catalogue in DCAT-AP 3 (" + form.MediaType + "), page by page of a snapshot", f.page(form)},
			Route{"GET /catalog/changes." + form.Suffix, "目录自某编号以来的变更（" + form.MediaType + "）", "What changed in the catalogue since a number (" + form.MediaType + ")", f.changes(form)})
	}
	return append(all,
		Route{"GET /catalog", "公共数据目录：页面，或按 Accept 给出 RDF", "The public catalogue: pages, or RDF where Accept asks for it", f.negotiate(pages, f.page)},
		Route{"GET /catalog/dataset/{id}", "目录中的数据集", "A dataset of the catalogue", thing},
		Route{"GET /catalog/changes", "目录变更，格式按 Accept", "What changed in the catalogue, in the form that Accept asks for", f.negotiate(nil, f.changes)},
		Route{"GET /catalog/vocabulary", "目录自有词汇", "The words of the catalogue's own", f.negotiate(nil, f.vocabulary)},
		Route{"GET /catalog/record/{id}", "目录记录", "What is said of a dataset", thing},
		Route{"GET /catalog/provider/{code}", "数据提供方", "A provider of datasets", thing},
		Route{"GET /catalog/service/{id}", "数据服务", "A service that hands out data", thing},
		Route{"GET /catalog/class/{path...}", "目录分类", "A place in the classification", thing},
		Route{"GET /catalog/law/{path...}", "法律依据", "A legal basis", thing},
		Route{"GET /catalog/dataset/{id}/release/{version}", "数据集的一次发布", "A release of a dataset", thing},
		Route{"GET /catalog/dataset/{id}/interface/{name}", "数据集的实时接口", "A live interface of a dataset", thing},
		Route{"GET /ckan/api/3/action/{action}", "与 CKAN 兼容的只读接口", "The CKAN action API, to read", http.HandlerFunc(f.ckan)},
		Route{"POST /ckan/api/3/action/{action}", "与 CKAN 兼容的只读接口（POST）", "The CKAN action API, to read, by POST", http.HandlerFunc(f.ckan)},
	)
}

// page answers with a page of a snapshot: the first of the current one, unless
// the address names another.
func (f *Feed) page(form dcat.Format) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !q.Has("snapshot") && !q.Has("page") {
			f.send(w, r, form, f.start(), 1)
			return
		}
		n, err := strconv.ParseInt(q.Get("snapshot"), 10, 64)
		number, perr := strconv.Atoi(q.Get("page"))
		begin := string(f.about.Base.Catalogue()) + "." + form.Suffix
		if err != nil || perr != nil {
			refuse(w, http.StatusBadRequest, "snapshot 与 page 须为数字；请从 "+begin+" 开始，沿 hydra:next 前进", "snapshot and page must be numbers; begin at "+begin+" and follow hydra:next")
			return
		}
		s := f.kept(n, number)
		if s == nil {
			f.count.gone.Inc()
			w.Header().Set("Link", "<"+begin+`>; rel="first"`)
			refuse(w, http.StatusGone, fmt.Sprintf("快照 %d 已不保留；请不带 If-None-Match 从 %s 重新开始，先前所得不要删除", n, begin),
				fmt.Sprintf("snapshot %d is no longer kept; begin again at %s without If-None-Match, and delete nothing of what you have", n, begin))
			return
		}
		if number < 1 || number > dcat.Pages(s.Snapshot) {
			refuse(w, http.StatusNotFound, fmt.Sprintf("快照 %d 只有第 1 至 %d 页", n, dcat.Pages(s.Snapshot)), fmt.Sprintf("snapshot %d has the pages 1 to %d", n, dcat.Pages(s.Snapshot)))
			return
		}
		f.send(w, r, form, s, number)
	})
}

func (f *Feed) send(w http.ResponseWriter, r *http.Request, form dcat.Format, s *Snapshot, number int) {
	h := w.Header()
	at := func(page int, rel string) {
		h.Add("Link", "<"+f.about.Address(form, s.Number, page)+`>; rel="`+rel+`"`)
	}
	at(1, "first")
	at(dcat.Pages(s.Snapshot), "last")
	if number > 1 {
		at(number-1, "prev")
	}
	if number < dcat.Pages(s.Snapshot) {
		at(number+1, "next")
	}
	h.Add("Link", "<"+f.about.ChangesAddress(form, s.Number)+`>; rel="monitor"`)
	f.answer(w, r, form, dcat.ETag(form, s.Tag, number), fmt.Sprintf("%d %d %s", s.Number, number, form.Suffix), func() (*dcat.Graph, error) {
		return f.about.Page(form, s.Snapshot, number)
	})
}

// changes answers with what became of datasets after a number.
func (f *Feed) changes(form dcat.Format) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		now := f.Current().Number
		anew := fmt.Sprintf("%s.%s, and then go on from %s", f.about.Base.Catalogue(), form.Suffix, f.about.ChangesAddress(form, now))
		if err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("after 须为编号；请先完整读取 %s.%s，再从 after=%d 继续", f.about.Base.Catalogue(), form.Suffix, now), "after must be a number; read the catalogue at "+anew)
			return
		}
		all, s, more, err := f.Changes(r.Context(), after)
		switch {
		case errors.Is(err, ErrGone):
			f.count.gone.Inc()
			refuse(w, http.StatusGone, fmt.Sprintf("无法从 after=%d 继续：此后的墓碑已不保留，或编号并非本目录给出；请重新完整读取 %s.%s，再从 after=%d 继续", after, f.about.Base.Catalogue(), form.Suffix, now),
				fmt.Sprintf("after=%d: tombstones since then are no longer kept, or the number was never given here; read the catalogue anew at %s", after, anew))
			return
		case err != nil:
			f.failed(w, err)
			return
		}
		tag := fmt.Sprintf(`W/"%d-%d-%s"`, s.Number, after, form.Suffix)
		f.answer(w, r, form, tag, fmt.Sprintf("%d after %d %s", s.Number, after, form.Suffix), func() (*dcat.Graph, error) {
			return f.about.Changes(form, after, all, s.Services, func(id string) bool { return s.Find(id) != nil }, more), nil
		})
	})
}

func (f *Feed) vocabulary(form dcat.Format) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.answer(w, r, form, "", "vocabulary "+form.Suffix, func() (*dcat.Graph, error) { return dcat.Vocabulary(f.about.Base), nil })
	})
}

// answer writes a graph, unless the caller has it. HEAD is answered as GET, and
// what it wrote is ready for the GET that follows.
func (f *Feed) answer(w http.ResponseWriter, r *http.Request, form dcat.Format, tag, key string, graph func() (*dcat.Graph, error)) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-cache")
	if tag != "" {
		h.Set("ETag", tag)
		if has(r, tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	body, err := f.cache.get(key, func() ([]byte, error) {
		g, err := graph()
		if err != nil {
			return nil, err
		}
		return form.Append(nil, g), nil
	})
	if err != nil {
		f.failed(w, err)
		return
	}
	h.Set("Content-Type", form.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the caller is gone
	}
}

// has reports whether the caller has what a tag is of.
func has(r *http.Request, tag string) bool {
	for known := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimSpace(known); known == "*" || strings.TrimPrefix(known, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

func (f *Feed) failed(w http.ResponseWriter, err error) {
	f.deps.Log.Error("feed_not_answered", "error", err)
	refuse(w, http.StatusInternalServerError, "枢纽未能完成，原因见其日志", "the hub failed to do this; its log says why")
}

// refuse answers by RFC 9457, in both languages.
func refuse(w http.ResponseWriter, status int, zh, en string) {
	body, err := json.Marshal(map[string]any{"title": http.StatusText(status), "status": status, "detail": en, "text": map[string]string{"zh": zh, "en": en}})
	if err != nil {
		panic(err) // it is text and a number
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

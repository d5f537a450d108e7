package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// twoRunbooks are pages of two alerts.
func twoRunbooks() fstest.MapFS {
	all := fstest.MapFS{}
	for name, text := range map[string]string{
		"en/DiskFull.md": "# DiskFull\n\npage: wake who is on duty · The hub itself\n\n## What to do\n\n1. Look.\n\n```sh\ndf -h <dir>\n```\n", "en/DeviceOffline.md": "# DeviceOffline\n\ninfo: when there is time · Devices\n",
		"zh/DiskFull.md": "# DiskFull\n\npage：叫醒值班人员 · 枢纽自身\n\n## 处理步骤\n\n1. 查看。\n", "zh/DeviceOffline.md": "# DeviceOffline\n\ninfo：有空时处理 · 设备\n",
	} {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

// TestWhoIsWokenReadsTheRunbook without signing in, in both languages.
func TestWhoIsWokenReadsTheRunbook(t *testing.T) {
	h := newPages(t)
	for _, c := range []struct {
		path, lang string
		code       int
		want       []string
	}{
		{"/runbooks", "en", 200, []string{"<h2>The hub itself</h2>", `<a href="/runbooks/DiskFull">DiskFull</a> <small>page: wake who is on duty</small>`, "<h2>Devices</h2>"}},
		{"/runbooks", "zh", 200, []string{"<h2>枢纽自身</h2>", "page：叫醒值班人员"}},
		{"/runbooks/DiskFull", "en", 200, []string{"<h1>DiskFull</h1>", "df -h &lt;dir&gt;", "DiskFull ·"}},
		{"/runbooks/DiskFull", "zh", 200, []string{"处理步骤", `lang="zh-CN"`}},
		{"/runbooks/Nothing", "en", 404, []string{"<code>Nothing</code>", "/runbooks/DeviceOffline"}},
		{"/runbooks/..%2fzh%2fDiskFull", "en", 404, []string{"/runbooks/DiskFull"}},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path+"?lang="+c.lang, nil))
		if w.Code != c.code {
			t.Errorf("%s in %s: %d", c.path, c.lang, w.Code)
		}
		for _, part := range c.want {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s in %s lacks %q:\n%s", c.path, c.lang, part, w.Body)
			}
		}
	}
}

package web

import "testing"

func TestMarkdownOfRunbooks(t *testing.T) {
	for text, want := range map[string]string{
		"# A <b>\n\nSee `x<1` & y.":                 "<h1>A &lt;b&gt;</h1>\n<p>See <code>x&lt;1</code> &amp; y.</p>\n",
		"## H\n- one\n- two\ntext":                  "<h2>H</h2>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n<p>text</p>\n",
		"1. a\n\n```sh\nhub <x> `y`\n```\n\n2. b\n": "<ol start=\"1\">\n<li>a</li>\n</ol>\n<pre tabindex=\"0\"><code>hub &lt;x&gt; `y`\n</code></pre>\n<ol start=\"2\">\n<li>b</li>\n</ol>\n",
		"```\n# no heading <script>":                "<pre tabindex=\"0\"><code># no heading &lt;script&gt;\n</code></pre>\n",
		"[a](javascript:x) <img src=x onerror=1>":   "<p>[a](javascript:x) &lt;img src=x onerror=1&gt;</p>\n",
		"1. a\n2. b\n- c":                           "<ol start=\"1\">\n<li>a</li>\n<li>b</li>\n</ol>\n<ul>\n<li>c</li>\n</ul>\n",
		"a `b` c ` d":                               "<p>a <code>b</code> c ` d</p>\n",
		"":                                          "",
		"1. see `hub query '{a=\"b\"} > 1'`":        "<ol start=\"1\">\n<li>see <code>hub query &#39;{a=&#34;b&#34;} &gt; 1&#39;</code></li>\n</ol>\n",
	} {
		if got := string(markdown(text)); got != want {
			t.Errorf("%q gives\n%s\nwant\n%s", text, got, want)
		}
	}
}

package web

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"
)

// numbered begins an entry of an ordered list.
var numbered = regexp.MustCompile(`^(\d+)\. `)

// coded is a piece of code within a line.
var coded = regexp.MustCompile("`([^`]+)`")

// markdown renders the part of Markdown that runbooks are written in: headings of
// two levels, paragraphs, lists of one level, code. Everything else is text, HTML
// too.
func markdown(text string) template.HTML {
	var b strings.Builder
	var open string // the list that is open: ul, ol or none
	list := func(want, tag string) {
		if open != want {
			if open != "" {
				fmt.Fprintf(&b, "</%s>\n", open)
			}
			b.WriteString(tag)
			open = want
		}
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], " \r")
		number := numbered.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "```"):
			list("", "")
			b.WriteString(`<pre tabindex="0"><code>`)
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "```"); i++ {
				b.WriteString(template.HTMLEscapeString(lines[i]) + "\n")
			}
			b.WriteString("</code></pre>\n")
		case line == "":
			list("", "")
		case strings.HasPrefix(line, "# "):
			list("", "")
			fmt.Fprintf(&b, "<h1>%s</h1>\n", inline(line[2:]))
		case strings.HasPrefix(line, "## "):
			list("", "")
			fmt.Fprintf(&b, "<h2>%s</h2>\n", inline(line[3:]))
		case strings.HasPrefix(line, "- "):
			list("ul", "<ul>\n")
			fmt.Fprintf(&b, "<li>%s</li>\n", inline(line[2:]))
		case number != nil: // code between entries parts the list, and the numbers go on
			list("ol", "<ol start=\""+number[1]+"\">\n")
			fmt.Fprintf(&b, "<li>%s</li>\n", inline(line[len(number[0]):]))
		default:
			list("", "")
			fmt.Fprintf(&b, "<p>%s</p>\n", inline(line))
		}
	}
	list("", "")
	return template.HTML(b.String()) // #nosec G203 -- every text was escaped
}

// inline is a line of text, with its code marked.
func inline(text string) string {
	return coded.ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>")
}

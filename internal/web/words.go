package web

import (
	"cmp"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/schedule"
)

// textOf is a text of any owner.
func textOf(v any) catalog.Text {
	switch t := v.(type) {
	case catalog.Text:
		return t
	case register.Text:
		return catalog.Text(t)
	case gate.Text:
		return catalog.Text(t)
	case schedule.Text:
		return catalog.Text(t)
	case string:
		return catalog.Text{ZH: t}
	}
	panic(fmt.Sprintf("%T is no text", v))
}

// chosenText is a text in the language of a page, else in the one that there is.
func chosenText(tag string, t catalog.Text) (text, lang string) {
	if tag == english.tag() && t.EN != "" || t.ZH == "" {
		return t.EN, english.tag()
	}
	return t.ZH, chinese.tag()
}

// plain is a text for attributes and titles.
func plain(tag string, v any) string {
	text, _ := chosenText(tag, textOf(v))
	return text
}

// tx is a text in a page; one in another language than the page's says so, so
// that it is read aloud as it should be.
func tx(tag string, v any) template.HTML {
	text, lang := chosenText(tag, textOf(v))
	escaped := template.HTMLEscapeString(text)
	if lang == tag || text == "" {
		return template.HTML(escaped) // #nosec G203 -- escaped above
	}
	return template.HTML(`<span lang="` + lang + `">` + escaped + `</span>`) // #nosec G203 -- escaped above
}

// themes are words of classifications that are known in English, and the three
// 类 of 政务信息资源目录编制指南.
var themes = map[string]catalog.Text{
	"1": {ZH: "基础信息资源", EN: "Base data"}, "2": {ZH: "主题信息资源", EN: "Thematic data"}, "3": {ZH: "部门信息资源", EN: "Data of departments"},
	"交通": {ZH: "交通", EN: "Transport"}, "道路": {ZH: "道路", EN: "Roads"}, "道路运行": {ZH: "道路运行", EN: "Road traffic"}, "信号": {ZH: "信号", EN: "Signals"}, "信号控制": {ZH: "信号控制", EN: "Signal control"},
	"农业": {ZH: "农业", EN: "Agriculture"}, "土壤": {ZH: "土壤", EN: "Soil"}, "墒情": {ZH: "墒情", EN: "Soil moisture"},
	"环境": {ZH: "环境", EN: "Environment"}, "生态环境": {ZH: "生态环境", EN: "Environment"}, "空气质量": {ZH: "空气质量", EN: "Air quality"}, "水质": {ZH: "水质", EN: "Water quality"}, "水利": {ZH: "水利", EN: "Water"}, "气象": {ZH: "气象", EN: "Weather"},
	"算力": {ZH: "算力", EN: "Computing"}, "数据中心": {ZH: "数据中心", EN: "Data centres"}, "能源": {ZH: "能源", EN: "Energy"}, "电力": {ZH: "电力", EN: "Power"}, "供热": {ZH: "供热", EN: "Heating"},
	"城市": {ZH: "城市", EN: "City"}, "城市治理": {ZH: "城市治理", EN: "City"}, "公共安全": {ZH: "公共安全", EN: "Public safety"}, "林业": {ZH: "林业", EN: "Forestry"}, "工业": {ZH: "工业", EN: "Industry"},
}

// className is what people call a place of the classification: by the code table of
// the catalogue, by a word or a 类 that is known, or else by its last code.
func (c *Catalogue) className(steps []string) catalog.Text {
	last := steps[len(steps)-1]
	if name, ok := c.Classes[strings.Join(steps, "-")]; ok {
		return name
	}
	if name, ok := themes[last]; ok && (len(steps) == 1 || !digitsOnly(last)) { // 1 to 3 are names of 类 alone
		return name
	}
	return catalog.Text{ZH: last}
}

func digitsOnly(step string) bool { return strings.Trim(step, "0123456789") == "" }

// formats are what people call media types.
var formats = map[string]string{
	"text/csv": "CSV", "application/csvm+json": "CSVW", "application/json": "JSON", "application/geo+json": "GeoJSON", "application/x-ndjson": "NDJSON", "application/ndjson": "NDJSON",
	"application/vnd.apache.parquet": "Parquet", "application/xml": "XML", "text/plain": "TXT", "sensorthings": "SensorThings API",
}

func formatName(s string) string { return cmp.Or(formats[s], s) }

// licences are what people call those that are known by address.
var licences = map[string]string{
	"https://creativecommons.org/licenses/by/4.0/": "CC BY 4.0", "https://creativecommons.org/licenses/by-sa/4.0/": "CC BY-SA 4.0", "https://creativecommons.org/publicdomain/zero/1.0/": "CC0 1.0",
	"https://creativecommons.org/licenses/by-nc/4.0/": "CC BY-NC 4.0", "https://opendatacommons.org/licenses/by/1-0/": "ODC-By 1.0", "https://opendatacommons.org/licenses/odbl/1-0/": "ODbL 1.0",
}

func licenceName(uri string) string { return cmp.Or(licences[uri], uri) }

// ucum writes a unit of UCUM as people do.
func ucum(unit string) string {
	known := map[string]string{"1": "", "Cel": "°C", "K": "K", "ug/m3": "µg/m³", "mg/m3": "mg/m³", "kW.h": "kWh", "W.h": "Wh", "m3": "m³", "m2": "m²", "m3/s": "m³/s", "deg": "°", "g/kW.h": "g/kWh", "[ppm]": "ppm", "[pH]": "pH", "uS/cm": "µS/cm"}
	if s, ok := known[unit]; ok {
		return s
	}
	return strings.NewReplacer("{", "", "}", "").Replace(unit) // notes on a unit stand in braces
}

// spell writes a duration in words.
func spell(tag string, d time.Duration) string {
	units := []struct {
		of     time.Duration
		zh, en string
	}{{365 * 24 * time.Hour, " 年", " year"}, {24 * time.Hour, " 天", " day"}, {time.Hour, " 小时", " hour"}, {time.Minute, " 分钟", " minute"}, {time.Second, " 秒", " second"}}
	for _, u := range units {
		if d >= u.of && (d%u.of == 0 || u.of == time.Second) {
			n := strconv.FormatInt(int64(d/u.of), 10)
			switch {
			case tag != english.tag():
				return n + u.zh
			case d/u.of == 1:
				return n + u.en
			}
			return n + u.en + "s"
		}
	}
	return d.String()
}

// cycleName says how often something is updated. value is that of the facet.
func cycleName(t map[string]string, tag, value string) string {
	kind, period, _ := strings.Cut(value, " ")
	d, err := time.ParseDuration(period)
	if err != nil || d == 0 {
		return t["cycle_"+kind]
	}
	switch d {
	case time.Hour, 24 * time.Hour, 7 * 24 * time.Hour:
		return t["each_"+strconv.Itoa(int(d/time.Hour))]
	}
	return fmt.Sprintf(t["each_of"], spell(tag, d))
}

// bytesName is a size of a file.
func bytesName(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, next
	}
	return figure(v) + " " + unit
}

func countName(n int64) string { return grouped(strconv.FormatInt(n, 10)) }

// day and stamp are times in China's.
func day(t time.Time) string   { return t.In(chinaTime).Format(time.DateOnly) }
func stamp(t time.Time) string { return t.In(chinaTime).Format("2006-01-02 15:04") }

// periodName is a span of time; a whole day is that day.
func periodName(t map[string]string, p catalog.Period) string {
	from, to := p.From.In(chinaTime), p.To.In(chinaTime)
	switch {
	case p.From.IsZero() && p.To.IsZero():
		return "–"
	case p.To.IsZero():
		return fmt.Sprintf(t["since_day"], day(from))
	case p.From.IsZero():
		return fmt.Sprintf(t["until_day"], day(to))
	case from.Format("15:04:05") == "00:00:00" && to.Sub(from) == 24*time.Hour:
		return day(from)
	case from.Format("15:04:05") == "00:00:00" && to.Format("15:04:05") == "00:00:00":
		return day(from) + " – " + day(to.Add(-time.Second))
	}
	return stamp(from) + " – " + stamp(to)
}

// ownTitle is a title without the id that is there for harvesters.
func ownTitle(id string, t catalog.Text) catalog.Text {
	t.EN = strings.TrimSpace(strings.TrimSuffix(t.EN, "("+id+")"))
	return t
}

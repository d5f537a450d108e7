package release

import (
	"github.com/songhua-io/hub/internal/catalog"
)

// tableOf is the description of data.csv as CSV on the Web has it
// (https://www.w3.org/TR/tabular-metadata/).
func tableOf(m *Manifest) any {
	columns := make([]any, len(m.Columns))
	for i := range m.Columns {
		columns[i] = columnOf(m, &m.Columns[i])
	}
	description := map[string]any{
		"@context":      []any{"http://www.w3.org/ns/csvw", map[string]any{"language": "zh"}},
		"url":           CSVFile,
		"dialect":       map[string]any{"encoding": "utf-8", "header": true, "delimiter": ",", "quoteChar": `"`, "doubleQuote": true, "lineTerminators": []any{"\r\n"}},
		"dc:identifier": m.Dataset, "dc:title": tagged(m.Title),
	}
	table := map[string]any{"columns": columns}
	if len(m.Key) > 0 {
		table["primaryKey"] = m.Key
	}
	description["tableSchema"] = table
	if m.Licence != "" {
		description["dc:license"] = map[string]any{"@id": m.Licence}
	}
	return description
}

func columnOf(m *Manifest, c *ColumnInfo) any {
	titles := map[string]any{"und": []any{c.Name}} // what stands in the file's first line
	for lang, title := range map[string]string{"zh": c.Title.ZH, "en": c.Title.EN} {
		if title != "" {
			titles[lang] = []any{title}
		}
	}
	column := map[string]any{"name": c.Name, "titles": titles, "datatype": datatype(c), "null": []any{""}, "required": m.isKey(c.Name)}
	if c.Unit != "" {
		column["schema:unitText"] = c.Unit // UCUM
	}
	if c.Empty != (Text{}) {
		column["rdfs:comment"] = tagged(c.Empty)
	}
	return column
}

func datatype(c *ColumnInfo) any {
	switch c.Type {
	case catalog.Boolean:
		return "boolean"
	case catalog.Integer:
		return "long"
	case catalog.Instant:
		return "dateTimeStamp"
	case catalog.Place:
		return "json"
	case catalog.String:
		if c.Length > 0 {
			return map[string]any{"base": "string", "maxLength": c.Length}
		}
		return "string"
	}
	return "double"
}

// tagged is a text with its languages, as JSON-LD has it.
func tagged(t Text) []any {
	all := []any{}
	if t.ZH != "" {
		all = append(all, map[string]any{"@value": t.ZH, "@language": "zh"})
	}
	if t.EN != "" {
		all = append(all, map[string]any{"@value": t.EN, "@language": "en"})
	}
	return all
}

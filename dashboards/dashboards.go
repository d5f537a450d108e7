// Package dashboards holds the Grafana dashboards of a hub, in English and
// Chinese, as gen writes them: classic JSON that every Grafana since 10 reads.
package dashboards

import "embed"

//go:generate go run ./gen

// Files are the dashboards: en/*.json and zh/*.json.
//
//go:embed en/*.json zh/*.json
var Files embed.FS

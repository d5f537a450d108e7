// Package alerts holds the rules that come with a hub, one file per subject. The hub
// runs them; a Prometheus or a vmalert that asks the hub takes the same files.
package alerts

import "embed"

// Files are the rule files, *.yaml.
//
//go:embed *.yaml
var Files embed.FS

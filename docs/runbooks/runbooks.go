// Package runbooks holds what to do when an alert is raised: one page per alert that
// is shipped, in Chinese and English.
package runbooks

import "embed"

// Files are the pages: zh/ALERT.md and en/ALERT.md.
//
//go:embed zh/*.md en/*.md
var Files embed.FS

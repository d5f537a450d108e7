package release

import (
	"path/filepath"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says how releases are kept, in catalog/releases of the data directory.
type Config struct {
	// KeyFile holds the keys under which releases of grade important and above are encrypted, 64 hexadecimal digits a line, the newest first; it must lie outside of the data directory. Without one such releases are refused.
	KeyFile string `yaml:"key_file"`
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	if c.KeyFile != "" && !filepath.IsAbs(c.KeyFile) {
		return []strict.Error{strict.Fault(path, "key_file", "%q is no absolute path; write it like /etc/songhua/releases.key", c.KeyFile)}
	}
	return nil
}

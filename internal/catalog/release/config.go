package release

import (
	"path/filepath"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says how releases are kept, in catalog/releases of the data directory.
type Config struct {
	// KeyFile holds the keys under which releases of grade important and above are encrypted, 64 hexadecimal digits a line, the newest first; it must lie outside of the data directory. Without one such releases are refused.
	KeyFile string `yaml:"key_file"`
	// CutsMax is how much of the disk the parts of releases take that were made for narrowed grants. Those that were not read for the longest time make room, and are made again when they are asked for. The files of one must fit in.
	CutsMax strict.Bytes `yaml:"cuts_max"`
}

// DefaultConfig has room for the parts of some twenty days of a thousand series.
func DefaultConfig() Config { return Config{CutsMax: 1 << 30} }

// Check implements strict.Checker.
func (c Config) Check(path string) (errs []strict.Error) {
	if c.KeyFile != "" && !filepath.IsAbs(c.KeyFile) {
		errs = append(errs, strict.Fault(path, "key_file", "%q is no absolute path; write it like /etc/songhua/releases.key", c.KeyFile))
	}
	if c.CutsMax < 1<<20 {
		errs = append(errs, strict.Fault(path, "cuts_max", "%s is too little for a part of a release; write 1MiB or more, such as 1GiB", c.CutsMax))
	}
	return errs
}

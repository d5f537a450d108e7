package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
)

// errNewer says that a newer program wrote a block.
var errNewer = errors.New("a newer version wrote it")

// blockVersion is the form of blocks that the TSDB reads.
const blockVersion = 1

// refuseNewer looks for blocks of a form that the TSDB does not know: it would leave
// them out, and what they hold would be gone for whoever asks.
func refuseNewer(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := ulid.ParseStrict(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		var meta struct{ Version int }
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "meta.json"))
		if err != nil || json.Unmarshal(text, &meta) != nil {
			continue // a block that is not whole is for the TSDB to judge
		}
		if meta.Version > blockVersion {
			return fmt.Errorf("block %s has version %d, and this program knows %d: %w", e.Name(), meta.Version, blockVersion, errNewer)
		}
	}
	return nil
}

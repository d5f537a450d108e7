package hub

import (
	"context"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/store/local"
)

// openGraded opens the store for series of grade important and core, if there
// is a place for it that is encrypted. Where there is not, the hub works and
// refuses such data: h.ungraded says why. Art. 74(3)
func (h *hub) openGraded(ctx context.Context) error {
	dir := h.cfg.Store.GradedDir
	if dir == "" {
		h.ungraded = "this hub has no encrypted place for it; set store.graded_dir to a directory on an encrypted volume (LUKS, fscrypt or gocryptfs)"
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store.graded_dir: %w; make its parent writable for the user the hub runs as, or choose another directory", err)
	}
	how, err := h.encrypted(dir)
	if err != nil {
		h.ungraded = fmt.Sprintf("store.graded_dir is no encrypted place for it: %v; mount an encrypted volume there (LUKS, fscrypt or gocryptfs) and restart the hub", err)
		h.log.Error("graded_store_not_opened", "dir", dir, "reason", err, "way_out", "mount an encrypted volume there (LUKS, fscrypt or gocryptfs) and restart; until then data of grade important and core are refused")
		return nil
	}
	if h.graded, err = h.openSeries(ctx, "graded", dir); err != nil {
		return err
	}
	h.log.Info("graded_store_opened", "dir", dir, "encrypted_by", how)
	return nil
}

// openSeries opens a store and starts what it needs.
func (h *hub) openSeries(ctx context.Context, name, dir string) (*local.DB, error) {
	cfg := h.cfg.Store.Config
	cfg.Dir = dir
	db, err := local.Open(ctx, cfg, h.log, prometheus.WrapRegistererWith(prometheus.Labels{"store": name}, h.metrics))
	if err != nil {
		return nil, err
	}
	h.stack.onStop(name+" store", db.Close)
	h.stack.start(name+" store upkeep", db.Run)
	return db, nil
}

// sealed is where ingest keeps series of grade important and core: nothing when
// there is no place for them.
func (h *hub) sealed() ingest.Store {
	if h.closed == nil {
		return nil
	}
	return ingestStore{h.closed}
}

// sealedPresence is where the presence of devices of grade important and core is
// kept: their names do not leave for an engine elsewhere. What stays here anyway
// has no need of the encrypted place.
func (h *hub) sealedPresence() seriesStore {
	switch {
	case h.closed != nil:
		return h.closed
	case h.far == nil:
		return h.plain
	}
	return nil
}

// allSeries is what queries read: every store, with what was corrected.
func (h *hub) allSeries() storage.Queryable { return h.corrections.Queryable() }

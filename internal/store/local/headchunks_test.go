package local

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAPowerCutMayLeaveHeadChunksWithoutAHeader(t *testing.T) {
	for name, files := range map[string]map[string][]byte{
		"zeros, then another file": {"000001": make([]byte, 4096), "000002": {}},
		"a hole in the middle":     {"000001": {0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0}, "000002": make([]byte, 64), "000003": {0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			chunks := filepath.Join(dir, "chunks_head")
			if err := os.MkdirAll(chunks, 0o755); err != nil {
				t.Fatal(err)
			}
			for file, data := range files {
				if err := os.WriteFile(filepath.Join(chunks, file), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cfg := DefaultConfig()
			cfg.Dir = dir
			db, err := Open(context.Background(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

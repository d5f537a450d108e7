package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// dropTornHeadChunks removes files of chunks_head that a power cut left without
// their header, and those behind them: the TSDB writes these files without an
// fsync, repairs the last of them only, and refuses to open over any other.
// They hold nothing that the logs do not hold too. It returns what it removed.
func dropTornHeadChunks(dir string) (removed []string, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "chunks_head", "[0-9]*"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	slices.Sort(names)
	for i, name := range names {
		whole, err := hasChunkHeader(name)
		if err != nil {
			return nil, err
		}
		if whole {
			continue
		}
		for _, torn := range names[i:] {
			if err := os.Remove(torn); err != nil {
				return removed, fmt.Errorf("remove a torn file: %w", err)
			}
			removed = append(removed, torn)
		}
		break
	}
	return removed, nil
}

func hasChunkHeader(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [chunks.MagicChunksSize]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, err
	}
	return binary.BigEndian.Uint32(magic[:]) == chunks.MagicHeadChunks, nil
}

package http

import (
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_body", c.MaxBody, 1<<10),
		strict.AtLeast(path, "max_decoded", c.MaxDecoded, 1<<10),
		strict.AtLeast(path, "max_ratio", c.MaxRatio, 1),
		strict.AtLeast(path, "max_memory", c.MaxMemory, 1<<10),
		strict.AtLeast(path, "max_devices", c.MaxDevices, 1),
		strict.AtLeast(path, "max_connections", c.MaxConnections, 1),
	)
}

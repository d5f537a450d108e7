// Command gendoc writes docs/formats/agent-metrics.md to the file that it is
// given.
package main

import (
	"fmt"
	"os"

	"github.com/songhua-io/hub/internal/edge/source"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], source.MetricsDoc(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gendoc:", err)
		os.Exit(1)
	}
}

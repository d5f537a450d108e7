package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// childAgent runs an agent until it is killed.
func childAgent(config string) int {
	var cfg Config
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := Run(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)), time.Now); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

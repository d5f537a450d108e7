// Command gen writes the Grafana dashboards of a hub, once in English and once
// in Chinese. The same source gives the same bytes.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", ".", "folder that holds en and zh")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	for _, language := range []string{"en", "zh"} {
		zh := language == "zh"
		folder := filepath.Join(out, language)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for name, b := range map[string]*board{"hub": hubBoard(zh), "fleet": fleetBoard(zh), "device": deviceBoard(zh), "nodes": nodesBoard(zh), "compute": computeBoard(zh),
			"rsus": rsuFleetBoard(zh), "rsu": rsuBoard(zh), "intersection": intersectionBoard(zh), "roads": roadsBoard(zh), "road-events": roadEventsBoard(zh)} {
			if err := write(filepath.Join(folder, name+".json"), b); err != nil {
				return err
			}
		}
	}
	return nil
}

func write(file string, b *board) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(b.dashboard); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}

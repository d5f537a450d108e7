// Command gen makes Go of messages.asn1: types with their decoding and encoding
// in unaligned PER.
//
//	go run ./internal/codec/v2x/gen messages.asn1 types.go
package main

import (
	"fmt"
	"go/format"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: gen SCHEMA FILE")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	s, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	source, err := format.Source(s.emit())
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], source, 0o644)
}

package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/codec/v2x"
)

func v2xCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "v2x",
		Short:   "What roadside units say: frames of LTE-V2X as JSON and back, a check of their messages, a play of a road net",
		Example: "  hub v2x decode --si frames.txt\n  hub v2x decode frames.txt | hub v2x encode -",
	}, v2xDecode(), v2xEncode(), v2xCheck(), v2xSimulate())
}

// maxFrame bounds one frame in hex, or one value tree: no frame has more than a
// few thousand octets.
const maxFrame = 1 << 20

func v2xDecode() *cobra.Command {
	var si bool
	c := &cobra.Command{
		Use:     "decode [HEX|FILE|-]",
		Short:   "Print frames in hex, divided by white space, as one line of JSON each",
		Example: "  hub v2x decode 802a0010274c1919999998181819c9f4991999999818181980000000100000000c80001919999998181819a6\n  hub v2x decode --si < frames.txt",
		Args:    upToOne("HEX, FILE or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := frames(cmd, args)
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // it was read only
			words := bufio.NewScanner(in)
			words.Buffer(nil, maxFrame)
			words.Split(bufio.ScanWords)
			var frame v2x.MessageFrame
			return each(cmd, words, "frame", func(word string, line []byte) ([]byte, error) {
				raw, err := hex.DecodeString(word)
				if err != nil {
					return nil, fmt.Errorf("%.40q is no hex: %w", word, err)
				}
				n, _, err := frame.Decode(raw)
				if err == nil && n < len(raw) {
					err = fmt.Errorf("ends after %d octets, and %d more follow", n, len(raw)-n)
				}
				if err != nil {
					return nil, err
				}
				return frame.AppendTree(line, si), nil
			})
		},
	}
	c.Flags().BoolVar(&si, "si", false, "numbers in SI units and degrees, null when not available")
	return c
}

func v2xEncode() *cobra.Command {
	return &cobra.Command{
		Use:     "encode [JSON|FILE|-]",
		Short:   "Make frames, in hex, of what decode prints: one line of JSON each",
		Example: `  hub v2x encode trees.jsonl` + "\n" + `  hub v2x decode frames.txt | hub v2x encode -`,
		Args:    upToOne("JSON, FILE or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := frames(cmd, args)
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // it was read only
			lines := bufio.NewScanner(in)
			lines.Buffer(nil, maxFrame)
			return each(cmd, lines, "line", func(text string, line []byte) ([]byte, error) {
				if strings.TrimSpace(text) == "" {
					return nil, nil
				}
				var frame v2x.MessageFrame
				if err := frame.ReadTree([]byte(text)); err != nil {
					return nil, err
				}
				raw, err := frame.AppendEncoded(nil)
				return hex.AppendEncode(line, raw), err
			})
		},
	}
}

// upToOne takes one argument or none.
func upToOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes %s; got %d arguments", cmd.CommandPath(), what, len(args))}
		}
		return nil
	}
}

// frames opens what is to be read: standard input for - or nothing, what was
// typed when it is hex or JSON, else a file.
func frames(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	_, err := hex.DecodeString(args[0])
	if err == nil && args[0] != "" || json.Valid([]byte(args[0])) {
		return io.NopCloser(strings.NewReader(args[0])), nil
	}
	f, err := os.Open(args[0])
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%.60q is neither hex of whole octets, nor JSON, nor a file", args[0])
	}
	return f, err
}

// each prints what becomes of each token. Those that are faulty are told on
// standard error, and the rest goes on.
func each(cmd *cobra.Command, tokens *bufio.Scanner, what string, f func(token string, line []byte) ([]byte, error)) error {
	out := bufio.NewWriter(cmd.OutOrStdout())
	bad, n := 0, 0
	var line []byte
	for tokens.Scan() {
		n++
		printed, err := f(tokens.Text(), line[:0])
		if err != nil {
			bad++
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %d: %v\n", what, n, err)
			continue
		}
		if printed == nil {
			continue
		}
		line = append(printed, '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	err := out.Flush()
	if tokens.Err() != nil {
		return fmt.Errorf("%s %d: %w", what, n+1, tokens.Err())
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d are not valid", bad, n)
	}
	return err
}

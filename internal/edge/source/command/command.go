// Package command reads what programs print: one that is run at an interval
// and prints a payload, or one that stays and prints a payload a line.
package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/program"
)

// Config is one program.
type Config struct {
	source.Common
	source.Interval
	// Command is the program and its arguments; no shell is between.
	Command []string `yaml:"command"`
	// Stream says that the program stays and prints a payload a line, instead
	// of being run at the interval.
	Stream bool `yaml:"stream"`
	// Format is how the program writes: auto, senml, json or influx.
	Format source.Format `yaml:"format"`
	// Timeout is how long one run may take; of no meaning with stream.
	Timeout time.Duration `yaml:"timeout"`
	// Env are variables for the program besides those of the agent.
	Env map[string]string `yaml:"env"`
}

// SetDefaults runs the program every minute.
func (c *Config) SetDefaults() { c.Interval.Interval, c.Timeout = time.Minute, 30*time.Second }

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	if len(c.Command) == 0 || c.Command[0] == "" {
		errs = append(errs, strict.Fault(path, "command", "is empty; write [program, argument, …]"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, strict.Fault(path, "timeout", "%s is no time to run in; raise it", c.Timeout))
	}
	return errs
}

const (
	// maxOutput bounds what one run may print, maxLine one line of a stream.
	maxOutput = 4 << 20
	maxLine   = 1 << 20
	maxStderr = 1 << 10
)

// New returns the source.
func New(cfg Config, device string, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		decoder := &source.Decoder{Format: cfg.Format.Format, Device: device, Now: now}
		put = source.Tagged(put, cfg.Tags)
		if cfg.Stream {
			return stream(ctx, cfg, decoder, put)
		}
		return source.Every(ctx, cfg.Interval.Interval, put, func(ctx context.Context) (source.Record, error) {
			out, err := runOnce(ctx, cfg)
			if err != nil {
				return source.Record{}, err
			}
			return decoder.Decode(out)
		})
	})
}

func runOnce(ctx context.Context, cfg Config) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	cmd := build(ctx, cfg)
	defer program.End(cmd)
	stdout, stderr := program.NewHead(maxOutput), program.NewHead(maxStderr)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return nil, failure(ctx, cfg, err, stderr)
	}
	if stdout.Over() {
		return nil, fmt.Errorf("%s printed more than %d B", cfg.Command[0], maxOutput)
	}
	return stdout.Bytes(), nil
}

func build(ctx context.Context, cfg Config) *exec.Cmd {
	cmd := program.Command(ctx, cfg.Command[0], cfg.Command[1:]...)
	cmd.Env = os.Environ()
	for k, v := range cfg.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

func failure(ctx context.Context, cfg Config, err error, stderr *program.Head) error {
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("did not end within %s", cfg.Timeout)
	}
	if said := bytes.TrimSpace(stderr.Bytes()); len(said) > 0 {
		return fmt.Errorf("%s: %w: %s", cfg.Command[0], err, said)
	}
	return fmt.Errorf("%s: %w", cfg.Command[0], err)
}

// stream reads lines until the program ends, which is a failure.
func stream(ctx context.Context, cfg Config, decoder *source.Decoder, put source.Put) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := build(running, cfg)
	defer program.End(cmd)
	stderr := program.NewHead(maxStderr)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = lines(ctx, out, decoder, put)
	stop()
	ended := cmd.Wait()
	if err != nil {
		return err
	}
	return failure(ctx, cfg, errors.Join(errors.New("the program ended"), ended), stderr)
}

// lines puts what the program prints, the lines that are there together.
func lines(ctx context.Context, out io.Reader, decoder *source.Decoder, put source.Put) error {
	in := bufio.NewReaderSize(out, maxLine)
	for {
		first, err := in.ReadSlice('\n')
		if len(bytes.TrimSpace(first)) > 0 {
			text := append(bytes.Clone(first), complete(in)...)
			if err := put(ctx, decoder.Lines(text)); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// complete takes the whole lines that are buffered already.
func complete(in *bufio.Reader) []byte {
	ready, err := in.Peek(in.Buffered())
	if err != nil {
		return nil
	}
	whole := ready[:bytes.LastIndexByte(ready, '\n')+1]
	text := bytes.Clone(whole)
	if _, err := in.Discard(len(whole)); err != nil {
		return nil
	}
	return text
}

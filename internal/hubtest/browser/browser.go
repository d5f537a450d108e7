// Package browser drives a real Chromium for tests of pages.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for one thing, on a machine that has other
// things to do; all that a test does in a browser may take longer.
const (
	patience = 3 * time.Minute
	whole    = 15 * time.Minute
)

// Open starts a browser with a profile of its own, or skips the test where there
// is none; with CI=true there must be one. The profile is removed with what is left
// of the browser's processes, which may write there after its end.
func Open(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("runs Chromium")
	}
	bin, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed (Debian package chromium)")
		}
		t.Skip("needs chromium (Debian package chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(bin), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1360, 1000),
		chromedp.Flag("accept-lang", "en"))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(options, flags...)...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	Do(t, ctx) // opens the tab, which lives as long as the context of this call
	ctx, expire := context.WithTimeout(ctx, whole)
	t.Cleanup(expire)
	return ctx
}

// NoComplaints fails the test for everything that the browser's console shows.
func NoComplaints(t *testing.T, ctx context.Context) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m, err := range messages {
			if err != nil {
				return
			}
			t.Errorf("the browser complains: %s", m)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

// Do does one thing after the other.
func Do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// Read returns the value of an expression in the page.
func Read[T any](t *testing.T, ctx context.Context, js string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Until waits for an expression to be true, also across a change of the page.
func Until(js string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		deadline := time.Now().Add(patience)
		for {
			_, err := chromedp.Poll[bool]("Boolean("+js+")", chromedp.WithPollingTimeout(time.Until(deadline)))(ctx, t)
			switch {
			case err == nil:
				return chromedp.Void{}, nil
			case time.Now().After(deadline) || ctx.Err() != nil:
				return chromedp.Void{}, fmt.Errorf("wait until %s: %w", js, err)
			}
		}
	}
}

// Picture writes what the browser shows to a file.
func Picture(t *testing.T, ctx context.Context, file string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, png, 0o644); err != nil {
		t.Fatal(err)
	}
}

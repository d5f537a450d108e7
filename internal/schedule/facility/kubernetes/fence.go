package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// KeepMarks is how long a mark is kept after it was last raised: longer than any
// request is under way.
const KeepMarks = 7 * 24 * time.Hour

// fence keeps the highest token that was asked for of each workload in the
// cluster: a ConfigMap each, changed by compare-and-swap of its version. All
// hubs that speak to the cluster see the same.
type fence struct {
	api      *api
	facility string
}

// mark is what is kept of a workload, or of a lease of which nothing else is
// known.
type mark struct {
	token uint64
	stage stage
}

func (m mark) forbids(token uint64) bool {
	return m.token > token || m.token == token && m.stage == stopped
}

// stage is how far the work of a token has come.
type stage string

// The stages.
const (
	asked   stage = "asked"   // jobs are created, and none may begin
	held    stage = "held"    // all jobs are there, and none may begin
	taken   stage = "taken"   // all jobs are there, and may begin
	stopped stage = "stopped" // nothing may begin under the token any more
)

// Keys of the ConfigMap of a mark.
const (
	ofKey    = "of"
	tokenKey = "token"
	stateKey = "state"
	atKey    = "at"
)

func (m mark) data(of string) map[string]string {
	return map[string]string{ofKey: of, tokenKey: strconv.FormatUint(m.token, 10), stateKey: string(m.stage), atKey: time.Now().UTC().Format(time.RFC3339)}
}

func readMark(c *core.ConfigMap) (m mark, err error) {
	m.token, err = strconv.ParseUint(c.Data[tokenKey], 10, 64)
	if err != nil {
		return m, fmt.Errorf("config map %s: %q is no token; take the config map away when nothing of %s runs", c.Name, c.Data[tokenKey], c.Data[ofKey])
	}
	m.stage = stage(c.Data[stateKey])
	return m, nil
}

func (f fence) name(of string) string {
	sum := sha256.Sum256([]byte(f.facility + "\n" + of))
	return "songhua-fence-" + hex.EncodeToString(sum[:12])
}

// get reads a mark; its version is empty when there is none.
func (f fence) get(ctx context.Context, of string) (m mark, version string, err error) {
	c, err := f.api.configs.Get(ctx, f.name(of), meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return m, "", nil
	}
	if err == nil {
		m, err = readMark(c)
	}
	return m, c.ResourceVersion, err
}

// raise changes a mark by what next makes of it, from the newest there is.
func (f fence) raise(ctx context.Context, of string, next func(mark) (mark, error)) error {
	for {
		was, version, err := f.get(ctx, of)
		if err != nil {
			return fmt.Errorf("mark of %s: %w", of, err)
		}
		m, err := next(was)
		if err != nil || m == was {
			return err
		}
		c := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: f.name(of), ResourceVersion: version, Labels: map[string]string{facilityLabel: f.facility}}, Data: m.data(of)}
		if version == "" {
			_, err = f.api.configs.Create(ctx, c, meta.CreateOptions{})
		} else {
			_, err = f.api.configs.Update(ctx, c, meta.UpdateOptions{})
		}
		switch {
		case err == nil:
			return nil
		case !exists(err) && !gone(err): // then somebody else has changed it
			return fmt.Errorf("raise the mark of %s to %d: %w", of, m.token, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func fenced(w facility.Work, m mark) error {
	return fmt.Errorf("token %d of %s: %w: %d", w.Token, w.Workload, facility.ErrFenced, m.token)
}

// begin allows work to be created, and reports how far it has come already.
func (f fence) begin(ctx context.Context, w facility.Work) (s stage, err error) {
	err = f.raise(ctx, w.Workload, func(m mark) (mark, error) {
		if m.forbids(w.Token) {
			return m, fenced(w, m)
		}
		if m.token != w.Token {
			m = mark{token: w.Token, stage: asked}
		}
		s = m.stage
		return m, nil
	})
	return s, err
}

// reach promises that all of what was asked for is there, and where it is taken,
// that it may begin. The caller has created all of it, and creates no more. What
// may begin is not held again.
func (f fence) reach(ctx context.Context, w facility.Work, s stage) error {
	if m, _, err := f.get(ctx, w.Lease); err != nil {
		return err
	} else if m.forbids(w.Token) {
		return fenced(w, m)
	}
	return f.raise(ctx, w.Workload, func(m mark) (mark, error) {
		if m.token != w.Token || m.stage == stopped {
			return m, fenced(w, m)
		}
		if m.stage != taken {
			m.stage = s
		}
		return m, nil
	})
}

// end lets nothing begin under a token any more, nor under a lower one of the
// same workload. What began before is to be looked for after it.
func (f fence) end(ctx context.Context, w facility.Work) error {
	of := w.Workload
	if of == "" {
		of = w.Lease
	}
	return f.raise(ctx, of, func(m mark) (mark, error) {
		if m.token > w.Token {
			return m, nil
		}
		return mark{token: w.Token, stage: stopped}, nil
	})
}

// sweep takes away the marks that are too old.
func (f fence) sweep(ctx context.Context, now time.Time) error {
	var old []core.ConfigMap
	_, err := pages(ctx, facilityLabel+"="+f.facility, f.api.configs.List, func(l *core.ConfigMapList) {
		for _, c := range l.Items {
			if at, err := time.Parse(time.RFC3339, c.Data[atKey]); err == nil && now.Sub(at) > KeepMarks {
				old = append(old, c)
			}
		}
	})
	if err != nil {
		return err
	}
	return each(ctx, old, func(ctx context.Context, c core.ConfigMap) error {
		err := f.api.configs.Delete(ctx, c.Name, meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion}})
		if gone(err) {
			return nil // or raised meanwhile
		}
		return err
	})
}

package hub

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/web"
)

func (h *hub) openAudit() (err error) {
	h.audit, err = audit.Open(audit.Options{Records: h.records, Dir: h.at.Data, Config: h.cfg.Audit, Log: h.log, Clock: h.clock, Metrics: h.metrics})
	if err == nil {
		h.stack.start("audit", h.audit.Run)
	}
	return err
}

// own is the name under which the hub itself stands in the record of changes.
const own = "hub"

// notedAdmin puts the making of the administrator's token on record.
func (h *hub) notedAdmin(ctx context.Context) context.Context {
	return audit.With(ctx, audit.Entry{
		At: h.clock(), Actor: own, Origin: filepath.Join(h.at.Data, access.AdminFile), Action: access.WriteTokens, Object: "token admin", After: `{"name":"admin","role":"admin"}`,
	})
}

// changes is the record as the page shows it.
func (h *hub) changes(ctx context.Context, q web.ChangeQuery) (web.Changes, error) {
	found, err := h.audit.List(ctx, audit.Filter{
		Region: q.Region, Since: q.Since, Until: q.Until, Actor: q.Actor, Action: q.Action, Object: q.Object, Origin: q.Origin,
	}, q.Before, q.Limit)
	if err != nil {
		return web.Changes{}, err
	}
	s := h.audit.State()
	out := web.Changes{Key: s.Key, Signed: s.Newest.Size, SignedAt: s.Newest.At, Verified: s.Verified.At}
	if s.Verified.Problem != nil {
		out.Problem = s.Verified.Problem.Text
	}
	for _, e := range found {
		out.Items = append(out.Items, web.Change{
			Seq: e.Seq, At: e.At, Actor: e.Actor, Role: string(e.Role), Origin: e.Origin, Action: string(e.Action), Object: e.Object, Region: e.Region,
			Before: e.Before, After: e.After,
		})
	}
	return out, nil
}

// VerifyAudit verifies the record of changes of a stopped hub's directory, and
// holds it against the keys that are given instead of its own, and against more
// files of checkpoints.
func VerifyAudit(ctx context.Context, dir string, keys audit.Keys, files []string, found func(audit.Finding)) (r audit.Report, err error) {
	release, err := local.Unused(filepath.Join(dir, seriesDir))
	if errors.Is(err, syscall.EAGAIN) {
		return r, fmt.Errorf("a hub runs in %s; stop it first, or ask it with GET /api/v1/audit/verify (%w)", dir, err)
	}
	if err != nil {
		return r, err
	}
	defer release() //nolint:errcheck // of a file that was read
	db, err := records.OpenReadOnly(filepath.Join(dir, recordsFile))
	if err != nil {
		return r, err
	}
	outside, err := audit.ReadOutside(dir, keys, files, found)
	if err == nil {
		r, err = audit.Verify(ctx, db, outside, found)
	}
	return r, errors.Join(err, db.Close())
}

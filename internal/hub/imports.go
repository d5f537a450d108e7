package hub

import (
	"context"
	"encoding/json"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/backfill"
)

// importParts is where parts of files of history come in.
func (h *hub) importParts(l *backfill.Ledger) api.Beside {
	door := backfill.NewDoor(backfill.Deps{Ledger: l, Pipeline: h.pipeline, Device: h.registry.Device, Log: h.log,
		Noted: func(ctx context.Context, i *backfill.Import) context.Context {
			c := access.CallerOf(ctx)
			after, err := json.Marshal(i)
			if err != nil {
				panic(err) // wire structs always have a JSON form
			}
			return audit.With(ctx, audit.Entry{At: h.clock(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: access.ImportHistory, Object: "import " + i.ID, Region: c.Region, After: string(after)})
		}})
	return api.Beside{Pattern: "POST /api/v1/imports/{id}/parts", ZH: "导入历史数据的一部分；同一部分重发不会重复", EN: "Bring the next part of an import; one that comes again changes nothing",
		Action: access.ImportHistory, Handler: door}
}

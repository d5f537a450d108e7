package api

import (
	"context"
	"net/http"

	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/register"
)

type datasetBudgetIn struct {
	ID string `path:"id"`
	Paging
}

type datasetBudgetOut struct {
	Body struct {
		Dataset  string          `json:"dataset"`
		Noise    *register.Noise `json:"noise" doc:"what the dataset asks for now; null: nothing"`
		Together float64         `json:"together,omitempty" doc:"how much ε of a day all datasets may spend together; absent: no bound"`
		Items    []budgetDay     `json:"items" doc:"days of data (China's time) of which something is spent, the newest first"`
		Next     string          `json:"next_cursor,omitempty"`
	}
}

type budgetDay struct {
	Day      string  `json:"day"`
	Spent    float64 `json:"spent" doc:"ε that the versions of the day have spent; it is never given back"`
	Left     float64 `json:"left" doc:"what versions of it may still spend"`
	All      float64 `json:"all" doc:"ε that all datasets have spent of the day"`
	Versions int     `json:"versions"`
}

func (a *API) datasetBudget(ctx context.Context, in *datasetBudgetIn) (*datasetBudgetOut, error) {
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	below, err := in.after()
	if err != nil {
		return nil, err
	}
	stands, err := a.Releases.Budget(ctx, r.Dataset())
	if err != nil {
		return nil, err
	}
	out := &datasetBudgetOut{}
	b := &out.Body
	b.Dataset, b.Noise, b.Together, b.Items = r.ID, r.Document.Privacy.Noise, epsilon(stands.Together), []budgetDay{}
	for i := range stands.Days {
		d := &stands.Days[i]
		name := d.Name()
		if below != "" && name >= below {
			continue
		}
		if len(b.Items) == in.Limit {
			b.Next = cursor(b.Items[in.Limit-1].Day)
			break
		}
		day := budgetDay{Day: name, Spent: epsilon(d.Spent), All: epsilon(d.All), Versions: d.Versions}
		if stands.Noise != nil {
			day.Left = epsilon(max(0, stands.Noise.MicroBudget-d.Spent))
		}
		if stands.Together > 0 {
			day.Left = min(day.Left, epsilon(max(0, stands.Together-d.All)))
		}
		b.Items = append(b.Items, day)
	}
	return out, nil
}

func epsilon(micro int64) float64 { return float64(micro) / 1e6 }

// overdrawn says that a privacy budget does not suffice.
func overdrawn(e *gate.Overdraw) *problem {
	p := newProblem(http.StatusConflict, e.Error())
	p.Text = &text{e.ZH(), e.Error()}
	return p
}

package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
	"github.com/songhua-io/hub/internal/schedule"
)

// noon is when the made-up compute is as it is.
var noon = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

// compute stands for the hub's: two facilities, one of them lost, a workload in
// each state that the page knows.
func compute(_ context.Context, region string) (Compute, error) {
	if region == "99" {
		return Compute{}, fmt.Errorf("the ledger is closed")
	}
	all := []Facility{
		{Facility: schedule.Facility{ID: "cc-1", Names: schedule.Text{ZH: "长春智算中心", EN: "Changchun AI centre"}, Region: "220100", SecurityGrade: 3, State: schedule.Ready, GreenShare: .3},
			Pools:  []Pool{{ID: "cc-a100", Facility: "cc-1", Capacity: schedule.Vector{512_000, 4 << 20, 64_000}, Leased: schedule.Vector{128_000, 1 << 20, 16_000}, Free: schedule.Vector{256_000, 3 << 20, 48_000}, DrawW: 8000}},
			PUENow: 1.25, Carbon: Reading{630, true}, Price: Reading{0.42, true}, Live: Live{PowerW: 8400, InletC: 23.5, At: noon.Add(-12 * time.Second), Stale: []string{"outdoor_celsius"}}},
		{Facility: schedule.Facility{ID: "yb-1", Names: schedule.Text{ZH: "<b>延边</b>", EN: "<b>Yanbian</b>"}, Region: "222400", SecurityGrade: 2, State: schedule.Lost},
			Pools: []Pool{{ID: "yb-edge", Facility: "yb-1", Capacity: schedule.Vector{32_000, 131_072}}}, PUENow: 1.4, Carbon: Reading{560, false}, Price: Reading{0.6, false}},
	}
	out := Compute{At: noon}
	for _, f := range all {
		if strings.HasPrefix(f.Region, region) {
			out.Facilities = append(out.Facilities, f)
		}
	}
	wants := func(from, to time.Duration) (time.Time, time.Time) { return noon.Add(from), noon.Add(to) }
	bar := func(id, state string, from, to time.Duration) Bar {
		s, e := wants(from, to)
		return Bar{Pool: "cc-a100", Workload: id, Name: "train-" + id, State: state, Start: s, End: e, Members: 2}
	}
	out.Bars = []Bar{bar("w-1", "running", -10*time.Minute, time.Hour), bar("w-2", "succeeded", -25*time.Minute, -12*time.Minute), bar("w-9", "succeeded", -3*time.Hour, -2*time.Hour)}
	for i := range maxLanes + 3 {
		out.Bars = append(out.Bars, bar(fmt.Sprintf("w-x%d", i), "reserved", 100*time.Minute, 110*time.Minute))
	}
	out.Queue = Waits{All: 301, More: true, First: []Waiting{{ID: "w-3", Name: "giant", Tenant: "university", Priority: 10, Since: noon.Add(-time.Minute), Rank: 0,
		Reasons: []schedule.Reason{schedule.Because(schedule.GangIncomplete, 4, 9)},
		Help:    schedule.Refusal{Pool: "bc-ascend", Change: []schedule.Change{{Key: "tasks[0].accelerators.models", From: "A100", To: "A100,910B"}}}}}}
	out.Deferred = Waits{All: 1, First: []Waiting{{ID: "w-4", Name: "reanalysis", Tenant: "meteorology", Until: noon.Add(12 * time.Hour), Planned: []Bar{bar("w-4", "deferred", 12*time.Hour, 13*time.Hour)},
		Reasons: []schedule.Reason{schedule.Because(schedule.WaitsForCarbon, "2026-11-26T16:00:00Z", "0.055")}}}}
	lost := schedule.Because(schedule.FacilityLost, "yb-1")
	out.Events = []Event{
		{schedule.Event{Seq: 2, At: noon, Kind: schedule.OfWorkload, Object: "w-1", From: "reserved", To: "running"}, "train-w-1"},
		{schedule.Event{Seq: 1, At: noon, Kind: schedule.OfFacility, Object: "yb-1", From: "ready", To: "lost", Reason: &lost}, ""},
	}
	return out, nil
}

// workload stands for the hub's: w-1 runs, and w-3 waits.
func workload(_ context.Context, region, id string) (Workload, error) {
	w := schedule.Workload{ID: id, Tenant: "university", Name: "train", Submitted: noon, Objective: schedule.Objective{Name: "greenest"},
		Tasks: []schedule.Task{{Name: "main", Min: 2, Max: 2, Use: schedule.Vector{8000, 32_768}, P50: time.Hour, Accelerators: &schedule.Accelerators{Count: 2, Milli: 1000, Models: []string{"A100"}}}}}
	switch {
	case region != "":
		return Workload{}, ErrNoWorkload
	case id == "w-1":
		why := schedule.Because(schedule.EngineRefused, "no such partition")
		return Workload{Workload: w, State: schedule.Running, Since: noon, Events: []schedule.Event{
			{Seq: 4, At: noon, Kind: schedule.OfLease, Object: "l-9", From: "held", To: "committed"}, {Seq: 5, At: noon, Kind: schedule.OfWorkload, Object: "w-1", From: "bound", To: "queued", Reason: &why}}, Bars: []Bar{{Pool: "cc-a100", Members: 2, Start: noon, End: noon.Add(time.Hour)}},
			Scores: []Score{{schedule.Score{Scorer: "carbon", Value: 0.125, Unit: "kg", Cost: 0.1}, schedule.Text{ZH: "二氧化碳", EN: "CO2 of the power"}}},
			Decision: schedule.Decision{Reasons: []schedule.Reason{schedule.Because(schedule.Chosen, "1.50")}, Cost: 1.5,
				RunnersUp: []schedule.RunnerUp{{Facility: "bc", Pool: "bc-ascend", Cost: 2.03, Worse: schedule.Score{Scorer: "price", Value: 1.83, Unit: "CNY", Cost: 1.83}}}}}, nil
	case id == "w-3":
		return Workload{Workload: w, State: schedule.Queued, Waits: true, Rank: 3, Decision: schedule.Decision{Reasons: []schedule.Reason{schedule.Because(schedule.GangIncomplete, 4, 9)},
			Refused: []schedule.Refusal{{Facility: "cc-1", Pool: "cc-cpu", Reason: schedule.Because(schedule.NoAccelerator)},
				{Facility: "bc", Pool: "bc-ascend", Reason: schedule.Because(schedule.ModelDiffers, "910B", "A100"), Change: []schedule.Change{{Key: "tasks[0].accelerators.models", From: "A100", To: "A100,910B"}}}}}}, nil
	}
	return Workload{}, ErrNoWorkload
}

func TestComputeIsReadWithoutAScript(t *testing.T) {
	h := newPages(t)
	resp, body := serve(t, h, h.signedIn(t, http.MethodGet, "/compute?lang=en"))
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for _, want := range []string{
		"Changchun AI centre", "&lt;b&gt;Yanbian&lt;/b&gt;", `class="state offline">lost`, `class="state online">ready`, "16 / 64", "1 / 4 TiB", "630 <small>g/kWh", "¥0.42", "560 <small>g/kWh *",
		`class="leased" width="25.00%"`, `class="busy" x="25.00%" width="25.00%"`, "4 members find a place, and 9 is the least", `</span>A100</del>`, "A100,910B", "saves 0.055 kg of CO2", "facility yb-1 is lost",
		`href="/compute/workloads/w-1"`, "+3 more", "301+", "The first of them are shown", `aria-current="page">Compute`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, "train-w-9") || strings.Contains(body, "2026-11-26T16:00:00Z and") {
		t.Error("a bar before the timeline is drawn, or a time of a reason is not local")
	}
	if _, body := serve(t, h, h.signedIn(t, http.MethodGet, "/compute?lang=zh")); !strings.Contains(body, "只能放下 4 个成员，至少需要 9 个") || !strings.Contains(body, "长春智算中心") || strings.Contains(body, "Changchun") ||
		!strings.Contains(body, "实测 IT 功率</dt><dd>8.40") || !strings.Contains(body, "最旧实时值距今： 12s") || !strings.Contains(body, "已过期，采用申报值： <code>outdoor_celsius") {
		t.Error("the page is not Chinese")
	}
}

func TestTheExplanationOfAWorkload(t *testing.T) {
	h := newPages(t)
	for path, wants := range map[string][]string{
		"/compute/workloads/w-1?lang=en": {"Why here", "it costs least in all: 1.50 yuan", "Carbon<small>CO2 of the power", "0.12 <small>kg", "bc-ascend", "Price 1.83 yuan", "greenest",
			"What happened", "lease <code>l-9</code></span> <span class=\"s-committed\">committed", "queued</span><small>the engine refused: no such partition"},
		"/compute/workloads/w-1?lang=zh": {"经过", "租约 <code>l-9</code></span> <span class=\"s-committed\">已交付", "引擎拒绝"},
		"/compute/workloads/w-3?lang=en": {"Why it waits", "it has no accelerator", "its accelerator is 910B, and A100 will do", "then it fits in bc-ascend", "Ahead: 3"},
		"/compute/workloads/w-3?lang=zh": {"没有加速卡", "最小的有效改动"},
		"/compute/workloads/w-7?lang=en": {"There is no workload of this name"},
	} {
		resp, body := serve(t, h, h.signedIn(t, http.MethodGet, path))
		if want := map[bool]int{true: http.StatusNotFound, false: http.StatusOK}[strings.Contains(path, "w-7")]; resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
	}
}

func TestWhoMaySeeCompute(t *testing.T) {
	h := newPages(t)
	as := func(c access.Caller, path string) (*http.Response, string) {
		r := httptest.NewRequest(http.MethodGet, path+"?lang=en", nil)
		return serve(t, h.inner, r.WithContext(access.WithCaller(r.Context(), c)))
	}
	if _, body := as(access.Caller{Name: "yb", Role: access.Reader, Region: "2224"}, "/compute"); !strings.Contains(body, "yb-edge") || strings.Contains(body, `id="f-cc-1"`) {
		t.Error("a reader of a region sees others, or not his own")
	}
	if resp, _ := as(access.Caller{Name: "yb", Role: access.Reader, Region: "2224"}, "/compute/workloads/w-1"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a workload of elsewhere: %s", resp.Status)
	}
	if resp, body := as(access.Caller{Name: "x", Role: access.Reader, Region: "99"}, "/compute"); resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "cannot be read at the moment") {
		t.Errorf("a scheduler that fails: %s", resp.Status)
	}
}

func TestBarsOfAPoolDoNotOverlap(t *testing.T) {
	c, _ := compute(t.Context(), "")
	for _, row := range chartOf(&c).Rows {
		for i, a := range row.Bars {
			for _, b := range row.Bars[:i] {
				if a.Y == b.Y && a.Start.Before(b.End) && b.Start.Before(a.End) {
					t.Errorf("%s and %s share a lane", a.Title, b.Title)
				}
			}
		}
	}
}

func TestComputeInABrowser(t *testing.T) {
	for _, width := range []int64{360, 1280} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(entry+"&lang=en"), browser.Until(`document.querySelector('a[href="/compute"]')`),
			chromedp.Navigate(base+"/compute?lang=en"), browser.Until(`document.querySelectorAll('.gantt rect').length > 1`))
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the page is %d px wide", width, wide)
		}
		if bad := browser.Read[string](t, ctx, `[...document.querySelectorAll('th')].filter((e) => !e.scope).map((e) => e.textContent).join()`); bad != "" {
			t.Errorf("headers of nothing: %s", bad)
		}
		browser.Read[string](t, ctx, `document.querySelector('main').id = 'old'`)
		browser.Do(t, ctx, browser.Until(`!document.getElementById('old')`))
		browser.Read[bool](t, ctx, `document.querySelector('.gantt .b-running').dispatchEvent(new MouseEvent('click', { bubbles: true }))`)
		browser.Do(t, ctx, browser.Until(`location.pathname.startsWith('/compute/workloads/') && document.querySelector('#why')`))
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the page of a workload is %d px wide", width, wide)
		}
	}
}

// TestPicturesOfCompute writes pictures into the folder that PICTURES names.
func TestPicturesOfCompute(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of compute")
	}
	for _, p := range []struct {
		lang, scheme  string
		width, height int64
	}{{"en", "light", 1280, 2000}, {"zh", "light", 1280, 2000}, {"en", "dark", 1280, 2000}, {"zh", "light", 390, 3000}} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(entry), chromedp.Navigate(base+"/compute?lang="+p.lang), browser.Until(`document.querySelector('.gantt')`))
		browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("compute-%s-%s-%d.png", p.lang, p.scheme, p.width)))
		for _, row := range []string{"#waiting", ".events"} {
			path := browser.Read[string](t, ctx, `document.querySelector('`+row+` a')?.pathname ?? '/compute'`)
			browser.Do(t, ctx, chromedp.Navigate(base+path), browser.Until(`document.querySelector('main h1')`))
			browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("workload-%s-%s-%s-%d.png", strings.Trim(row, "#."), p.lang, p.scheme, p.width)))
			browser.Do(t, ctx, chromedp.Navigate(base+"/compute"), browser.Until(`document.querySelector('.gantt')`))
		}
	}
}

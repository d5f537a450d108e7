package basemap

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// grid is a net of n × n intersections, 500 m apart, in Changchun.
func grid(n int) (links []traffic.LinkView) {
	at := func(i, j int) road.Position {
		return road.Position{Lat: 43.86 + float64(j)*.0045, Lon: 125.30 + float64(i)*.0062}
	}
	id := func(i, j int) road.NodeID { return road.NodeID{Region: 2201, ID: uint16(j*n + i + 1)} }
	join := func(i, j, k, l int) {
		links = append(links, traffic.LinkView{From: id(i, j), To: id(k, l), Points: []road.Position{at(i, j), at(k, l)}},
			traffic.LinkView{From: id(k, l), To: id(i, j), Points: []road.Position{at(k, l), at(i, j)}})
	}
	for i := range n {
		for j := range n {
			if i+1 < n {
				join(i, j, i+1, j)
			}
			if j+1 < n {
				join(i, j, i, j+1)
			}
		}
	}
	return links
}

// tileOf is the tile of a position.
func tileOf(p road.Position, z int) (x, y int, px, py int) {
	wx, wy := Project(p)
	wx, wy = wx*math.Exp2(float64(z)), wy*math.Exp2(float64(z))
	return int(wx), int(wy), int((wx - math.Floor(wx)) * Size), int((wy - math.Floor(wy)) * Size)
}

func draw(t testing.TB, n *Net, z, x, y int) *image.Paletted {
	t.Helper()
	text, ok := n.Draw(z, x, y)
	if !ok {
		t.Fatalf("no tile %d/%d/%d", z, x, y)
	}
	img, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return img.(*image.Paletted)
}

func TestRoadsAreWhereTheyAre(t *testing.T) {
	links := grid(3)
	n := NewNet(links)
	if len(n.lines) != 12 {
		t.Errorf("%d roads are drawn for 12 with two directions each", len(n.lines))
	}
	for _, z := range []int{12, 15, 18} {
		on := road.Position{Lat: 43.86, Lon: 125.3025}
		x, y, px, py := tileOf(on, z)
		img := draw(t, n, z, x, y)
		if got := img.ColorIndexAt(px, py); got < roadBase {
			t.Errorf("zoom %d: a road is drawn as %d", z, got)
		}
		beside := road.Position{Lat: 43.8621, Lon: 125.3025}
		x, y, px, py = tileOf(beside, z)
		if got := draw(t, n, z, x, y).ColorIndexAt(px, py); got >= roadBase && z > 13 {
			t.Errorf("zoom %d: a field is drawn as %d", z, got)
		}
	}
	// what is drawn does not break off at the edge of a tile
	x, y, _, _ := tileOf(road.Position{Lat: 43.8622, Lon: 125.3031}, 16)
	left, right := draw(t, n, 16, x, y), draw(t, n, 16, x+1, y)
	for row := range Size {
		a, b := left.ColorIndexAt(Size-1, row) >= roadBase+8, right.ColorIndexAt(0, row) >= roadBase+8
		if a != b {
			t.Errorf("row %d breaks off at the edge", row)
		}
	}
}

func TestProjectionGoesBothWays(t *testing.T) {
	for _, p := range []road.Position{{Lat: 43.9, Lon: 125.3}, {Lat: -33, Lon: -70}, {}} {
		if got := Unproject(Project(p)); math.Abs(got.Lat-p.Lat) > 1e-9 || math.Abs(got.Lon-p.Lon) > 1e-9 {
			t.Errorf("%v becomes %v", p, got)
		}
	}
}

// site serves tiles of a net of links, by scope.
func site(links map[string][]traffic.LinkView, asked *int, clock func() time.Time) http.Handler {
	scope := func(r *http.Request) string { return r.Header.Get("Scope") }
	mux := http.NewServeMux()
	mux.Handle("GET /basemap/{z}/{x}/{y}", New(Config{Links: func(r *http.Request) []traffic.LinkView { *asked++; return links[scope(r)] }, Scope: scope, Clock: clock}))
	return mux
}

func TestTilesAreServed(t *testing.T) {
	now, asked := time.Unix(1_800_000_000, 0), 0
	links := map[string][]traffic.LinkView{"cc": grid(2)}
	h := site(links, &asked, func() time.Time { return now })
	get := func(path, scope, have string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Scope", scope)
		r.Header.Set("If-None-Match", have)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	x, y, _, _ := tileOf(links["cc"][0].Points[0], 15)
	path := fmt.Sprintf("/basemap/15/%d/%d.png", x, y)
	first := get(path, "cc", "")
	if first.StatusCode != 200 || first.Header.Get("Content-Type") != "image/png" || first.Header.Get("ETag") == "" {
		t.Fatalf("%s %v", first.Status, first.Header)
	}
	if again := get(path, "cc", first.Header.Get("ETag")); again.StatusCode != 304 {
		t.Errorf("unchanged: %s", again.Status)
	}
	if other := get(path, "elsewhere", first.Header.Get("ETag")); other.StatusCode != 200 || other.Header.Get("ETag") == first.Header.Get("ETag") {
		t.Errorf("who may not see roads is shown them: %s", other.Status)
	}
	if asked != 2 {
		t.Errorf("roads were asked for %d times", asked)
	}
	links["cc"], now = grid(3), now.Add(freshFor)
	links["cc"] = append(links["cc"], traffic.LinkView{Points: []road.Position{links["cc"][0].Points[0], {Lat: 43.87, Lon: 125.31}}})
	if changed := get(path, "cc", first.Header.Get("ETag")); changed.StatusCode != 200 {
		t.Errorf("a road that is new is not drawn: %s", changed.Status)
	}
	for _, bad := range []string{"2/1/1.png", "20/1/1.png", "15/1/1.jpg", "15/-1/1.png", "3/8/0.png", "x/1/1.png"} {
		if r := get("/basemap/"+bad, "cc", ""); r.StatusCode != 404 {
			t.Errorf("%s: %s", bad, r.Status)
		}
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s := New(Config{})
	n := NewNet(grid(2))
	for i := range keptTiles + 50 {
		s.keep(&drawn{tileKey: tileKey{n.Version, 19, 400_000 + i, 100_000}})
	}
	if len(s.tiles) != keptTiles || s.order.Len() != keptTiles {
		t.Errorf("%d tiles are kept", len(s.tiles))
	}
	if s.tiles[tileKey{n.Version, 19, 400_000 + keptTiles, 100_000}] == nil || s.tiles[tileKey{n.Version, 19, 400_000, 100_000}] != nil {
		t.Error("it is not the oldest that goes")
	}
}

// TestPictures writes tiles into the folder that PICTURES names.
func TestPictures(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of tiles")
	}
	n := NewNet(grid(10))
	for _, z := range []int{6, 10, 13, 15, 17} {
		x, y, _, _ := tileOf(road.Position{Lat: 43.8645, Lon: 125.3062}, z)
		text, _ := n.Draw(z, x, y)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("tile-%d.png", z)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkTile draws what a net of 1,000 intersections has in a tile.
func BenchmarkTile(b *testing.B) {
	n := NewNet(grid(32))
	for _, z := range []int{8, 12, 14, 16} {
		x, y, _, _ := tileOf(road.Position{Lat: 43.9, Lon: 125.35}, z)
		b.Run(fmt.Sprint(z), func(b *testing.B) {
			for b.Loop() {
				n.Draw(z, x, y)
			}
		})
	}
	b.Run("net", func(b *testing.B) {
		links := grid(32)
		for b.Loop() {
			NewNet(links)
		}
	})
}

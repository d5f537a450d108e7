package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/registry"
)

// post sends telemetry through the HTTP door and returns the answer.
func (h *hub) post(t *testing.T, device, secret, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.at.HTTP+"/api/v1/devices/"+device+"/telemetry", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// mentions returns the files below a directory that hold a text.
func mentions(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // a hub that runs removes files
		}
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func encryptedBy(how string, err error) func(*hub) {
	return func(h *hub) { h.encrypted = func(string) (string, error) { return how, err } }
}

func gradedIn(dir string) func(*hub) {
	return func(h *hub) { h.cfg.Store.GradedDir = dir }
}

func TestImportantSeriesLieOnTheEncryptedVolumeAlone(t *testing.T) {
	data, volume := t.TempDir(), filepath.Join(t.TempDir(), "volume")
	h := whole(t, data, gradedIn(volume), encryptedBy("dm-crypt", nil))
	h.give(t, "id: camera\nnames: {en: Camera}\nmetrics: [{name: track_of_people, grade: important, min: 0, max: 100}, {name: exposure}]")
	secret := h.register(t, registry.Spec{ID: "c1", Model: "camera"})
	at := time.Now().UnixMilli()
	report := func(h *hub, track, exposure float64) {
		t.Helper()
		at++ // two of one millisecond would be a conflict
		body := fmt.Sprintf(`{"ts": %d, "track_of_people": %v, "exposure": %v}`, at, track, exposure)
		if answer := h.post(t, "c1", secret, body); !strings.Contains(answer, `"accepted":2`) {
			t.Fatal(answer)
		}
	}
	report(h, 5, 0.1)
	report(h, 500, 0.2)
	// Of what is refused the desk keeps no value.
	h.post(t, "c1", secret, `{"track_of_people": 123456789, "ts": 4102444800000}`)
	h.post(t, "c1", secret, `{"track_of_people": 123456789,`)
	if n := h.values(t, `{__name__=~"track_of_people|track_of_people_out_of_range|exposure", device="c1"}`); n != 3 {
		t.Errorf("%d series are read, want 3", n)
	}
	if n := h.values(t, `count_over_time(track_of_people[1h]) == 2 and sum_over_time(track_of_people_out_of_range[1h]) == 1`); n != 1 {
		t.Error("the samples are not all there, or not flagged")
	}
	h.end(t)
	// The model stands in the database by name; series would stand in a log with
	// their device.
	for _, path := range mentions(t, data, "track_of_people") {
		if !strings.Contains(path, recordsFile) && !strings.Contains(path, deskDir) {
			t.Errorf("%s holds an important series", path)
		}
	}
	if found := mentions(t, data, "123456789"); found != nil {
		t.Errorf("%v hold a value that was refused", found)
	}
	if found := mentions(t, volume, "track_of_people"); found == nil {
		t.Error("nothing lies on the volume")
	}
	for _, verify := range []func() (int, error){
		func() (int, error) { return Verify(t.Context(), data, func(line string) { t.Error(line) }) },
		func() (int, error) { return VerifyGraded(t.Context(), volume, func(line string) { t.Error(line) }) },
	} {
		if n, err := verify(); n != 0 || err != nil {
			t.Error(n, err)
		}
	}

	again := whole(t, data, gradedIn(volume), encryptedBy("dm-crypt", nil))
	if n := again.values(t, `last_over_time(track_of_people[1h]) == 500`); n != 1 {
		t.Error("after a restart the important series is gone")
	}
	// From here on it is general: the curve goes on in the plain store.
	again.give(t, "id: camera\nnames: {en: Camera}\nmetrics: [{name: track_of_people, grade: general}]")
	report(again, 7, 0.3)
	if n := again.values(t, `count_over_time(track_of_people[1h]) == 3`); n != 1 {
		t.Error("the two parts of a series are not read as one")
	}
	again.end(t)

	// The volume is not mounted: the hub works, and says what is missing.
	without := whole(t, data, gradedIn(volume), encryptedBy("", errors.New("it lies on /dev/sda1, which is not encrypted")))
	without.give(t, "id: camera\nnames: {en: Camera}\nmetrics: [{name: track_of_people, grade: core}]")
	answer := without.post(t, "c1", secret, `{"track_of_people": 1, "exposure": 2}`)
	for _, want := range []string{`"accepted":1`, "grade_unsupported", "store.graded_dir is no encrypted place for it: it lies on /dev/sda1", "LUKS"} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %q in %s", want, answer)
		}
	}
}

func TestWithoutAPlaceImportantDataIsRefused(t *testing.T) {
	h := whole(t, t.TempDir())
	secret := h.register(t, registry.Spec{ID: "c1", Grade: "important"})
	answer := h.post(t, "c1", secret, `{"a": 1, "text": "x"}`)
	for _, want := range []string{"grade_unsupported", "set store.graded_dir to a directory on an encrypted volume"} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %q in %s", want, answer)
		}
	}
	if n := h.values(t, `{device="c1", __name__!="device_presence"}`); n != 0 {
		t.Errorf("%d series", n)
	}
}

func TestAGradedStoreThatCannotBeOpenedEndsTheHub(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hub{encrypted: func(string) (string, error) { return "dm-crypt", nil }}
	h.cfg.Store.GradedDir = filepath.Join(file, "volume")
	if err := h.openGraded(context.Background()); err == nil || !strings.Contains(err.Error(), "store.graded_dir") {
		t.Error(err)
	}
}

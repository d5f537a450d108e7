package queue

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// segmentFiles are the segments of the directory, oldest first.
func (r *rig) segmentFiles() []string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "*"+segmentSuffix))
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// flip changes one byte of a file.
func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xa5
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// offsets returns where the frames of a segment stand.
func offsets(t *testing.T, file string) (all []int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	err = scan(f, int64(segmentHeader), info.Size(), 0, func(_ head, _ []byte, at int64) error {
		all = append(all, at)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamageCostsWhatItHit: a frame in the middle, in its header or its body, of
// the segment that was written last or of one before.
func TestDamageCostsWhatItHit(t *testing.T) {
	for _, c := range []struct {
		name    string
		segment int
		into    int64 // bytes into the frame
	}{
		{"header, last segment", 1, 9}, {"body, last segment", 1, frameHeader + 3},
		{"header, older segment", 0, 9}, {"body, older segment", 0, frameHeader + 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := newSink()
			r := newRig(t, to)
			for round := range 2 {
				for i := range 10 { // ten frames of three samples, the first with all labels
					r.put(0, at(100*round+3*i, 1), at(100*round+3*i+1, 2), at(100*round+3*i+2, 3))
				}
				if round == 0 {
					r.reopen()
				}
			}
			r.close()
			file := r.segmentFiles()[c.segment]
			flip(t, file, offsets(t, file)[4]+c.into)
			r.open()
			r.start()
			r.settle()
			expect(t, "samples", 57, to.total())
			expect(t, "lost", 3, testutil.ToFloat64(r.metrics.lost))
			expect(t, "waiting", 0, r.pending.Load())
			for i := 12; i < 15; i++ {
				if _, there := to.got(labelsOf(0))[at(100*c.segment+i, 0).Time]; there {
					t.Errorf("sample %d was in the damaged frame", i)
				}
			}
			r.put(0, at(1000, 1))
			r.settle()
			expect(t, "samples later", 58, to.total())
		})
	}
}

// TestLostLabelsCostTheirSeries: samples whose labels are lost are counted, and
// never given to another series.
func TestLostLabelsCostTheirSeries(t *testing.T) {
	to := newSink()
	r := newRig(t, to)
	for i := range 4 {
		for round := range 5 {
			r.put(i, at(round, float64(i)))
		}
	}
	r.close()
	file := r.segmentFiles()[0]
	flip(t, file, offsets(t, file)[5]+frameHeader+1) // the first frame of series 1
	r.open()
	r.start()
	r.settle()
	expect(t, "lost", 5, testutil.ToFloat64(r.metrics.lost))
	for i, want := range []int{5, 0, 5, 5} {
		expect(t, "points of a series", want, len(to.got(labelsOf(i))))
		for _, bits := range to.got(labelsOf(i)) {
			if v := at(0, float64(i)).Value; bits != floatBits(v) {
				t.Errorf("series %d has a value of another", i)
			}
		}
	}
	expect(t, "waiting", 0, r.pending.Load())
}

// TestATornTailIsCut: whatever a power cut leaves of what was not yet durable,
// all before is there, and the queue goes on.
func TestATornTailIsCut(t *testing.T) {
	to := newSink()
	r := newRig(t, to)
	for i := range 5 {
		r.put(i, at(i, 1))
	}
	r.close()
	whole, err := os.ReadFile(r.segmentFiles()[0])
	if err != nil {
		t.Fatal(err)
	}
	last := offsets(t, r.segmentFiles()[0])[4]
	for cut := int(last); cut < len(whole); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, 40)} {
			to := newSink()
			r := newRig(t, to)
			r.close()
			if err := os.WriteFile(r.segmentFiles()[0], append(slices.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			r.open()
			r.put(9, at(9, 1))
			r.start()
			r.settle()
			expect(t, "samples", 5, to.total())
			expect(t, "lost", 0, testutil.ToFloat64(r.metrics.lost))
			r.close()
		}
	}
}

// TestSegmentsOfAnotherFormatAreLeftAlone: a newer program wrote them.
func TestSegmentsOfAnotherFormatAreLeftAlone(t *testing.T) {
	r := newRig(t, newSink())
	r.put(1, at(1, 1))
	r.close()
	file := r.segmentFiles()[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[7] = '9'
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if q, err := tryOpen(r); err == nil {
		q.Close()
		t.Error("it was opened")
	}
	data[7] = '1'
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
}

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a signed statement: the record had so many entries, whose
// hashes make a Merkle tree of this root (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string // name of the key
	Size   int64
	Root   tlog.Hash
	At     time.Time
	// Note is the signed note, as it is kept and shown.
	Note string
	// From says where it was found.
	From string
}

// timeShown is how findings tell the time of a checkpoint.
const timeShown = time.RFC3339

// timeLine begins the one extension line of a checkpoint.
const timeLine = "time "

func sign(signer note.Signer, size int64, root tlog.Hash, at time.Time) (Checkpoint, error) {
	c := Checkpoint{Origin: signer.Name(), Size: size, Root: root, At: at.UTC().Truncate(time.Millisecond)}
	text := fmt.Sprintf("%s\n%d\n%s\n%s%s\n", c.Origin, size, root, timeLine, c.At.Format(time.RFC3339Nano))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	c.Note = string(signed)
	return c, err
}

// Open reads a checkpoint and checks its signature.
func (k Keys) Open(text string) (c Checkpoint, err error) {
	c = Checkpoint{Note: text}
	lines := strings.SplitN(text, "\n", 6)
	if len(lines) < 6 || lines[4] != "" {
		return c, errors.New("it is no checkpoint of a record")
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 {
		return c, fmt.Errorf("its size %.30q is no number", lines[1])
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return c, err
	}
	if c.At, err = time.Parse(timeLine+time.RFC3339Nano, lines[3]); err != nil {
		return c, err
	}
	opened, err := note.Open([]byte(text), k.verifiers)
	var unknown *note.UnverifiedNoteError
	if errors.As(err, &unknown) {
		return c, fmt.Errorf("%w %s, of whose keys none is known here", errForeign, c.Origin)
	}
	if err != nil {
		return c, err
	}
	for _, s := range opened.Sigs {
		if s.Name == c.Origin {
			return c, nil
		}
	}
	return c, fmt.Errorf("%w %s: it is signed by %s", errForeign, c.Origin, opened.Sigs[0].Name)
}

// errForeign is wrapped where a checkpoint belongs to another record.
var errForeign = errors.New("it is a checkpoint of another record,")

// split cuts a file into its checkpoints. Each ends with an empty line; rest is
// how many bytes at the end belong to none: what a crash left of the last.
func split(data []byte) (notes []string, rest int) {
	for {
		text := bytes.Index(data, []byte("\n\n— "))
		if text < 0 {
			return notes, len(data)
		}
		end := bytes.Index(data[text+2:], []byte("\n\n"))
		if end < 0 {
			return notes, len(data)
		}
		end += text + 3
		notes = append(notes, string(data[:end]))
		data = data[end+1:]
	}
}

// ReadCheckpoints reads a file of checkpoints. What cannot be opened is reported
// and left out; a file that is not there holds none.
func ReadCheckpoints(path string, keys Keys, found func(Finding)) ([]Checkpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n\n")) && bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n') // a single checkpoint, as people save it
	}
	notes, _ := split(data)
	if len(notes) == 0 && len(bytes.TrimSpace(data)) > 0 {
		found(Finding{How: BadCheckpoint, Text: path + " holds no whole checkpoint"})
	}
	var all []Checkpoint
	for i, text := range notes {
		c, err := keys.Open(text)
		c.From = path
		if err != nil {
			found(badCheckpoint(fmt.Sprintf("checkpoint %d in %s", i+1, path), err))
			continue
		}
		all = append(all, c)
	}
	return all, nil
}

func badCheckpoint(which string, err error) Finding {
	how := BadCheckpoint
	if errors.Is(err, errForeign) {
		how = OtherRecord
	}
	return Finding{How: how, Text: fmt.Sprintf("%s: %v", which, err)}
}

// tail bounds what is read of a file of checkpoints to find its end.
const tail = 4 << 10 // bytes; a checkpoint has some 300

// keep appends a checkpoint to a file, durably. What a crash left of the one
// before is cut off first.
func keep(path string, c Checkpoint) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // synced
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	last := make([]byte, min(end, tail))
	if _, err := f.ReadAt(last, end-int64(len(last))); err != nil {
		return err
	}
	text := c.Note + "\n"
	if _, rest := split(append(last, '\n')); rest == 0 && end > 0 { // all but the last byte was written
		text = "\n" + text
	} else if _, rest = split(last); rest > 0 {
		end -= int64(rest)
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt([]byte(text), end); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || end > 0 {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

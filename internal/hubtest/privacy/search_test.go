package privacy

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// search looks for many secrets at once.
type search struct {
	begins []bool                 // of what the first three octets are
	all    map[[7]byte][]*pattern // by the first seven octets
	whats  map[string]bool
}

// pattern is a secret in one of its forms.
type pattern struct {
	what  string
	bytes []byte
}

func newSearch() *search {
	return &search{begins: make([]bool, 1<<24), all: map[[7]byte][]*pattern{}, whats: map[string]bool{}}
}

func (s *search) add(what string, form []byte) {
	if len(form) < 7 {
		panic(fmt.Sprintf("%s: %q is too short to be looked for", what, form))
	}
	s.begins[begin(form)] = true
	k := [7]byte(form)
	if !slices.ContainsFunc(s.all[k], func(p *pattern) bool { return bytes.Equal(p.bytes, form) }) {
		s.all[k] = append(s.all[k], &pattern{what, slices.Clone(form)})
	}
}

func begin(p []byte) int { return int(p[0])<<16 | int(p[1])<<8 | int(p[2]) }

// id adds the temporary id of a participant: its octets in both orders, at each
// offset of bits, as frames have them, and as hex.
func (s *search) id(id [8]byte) {
	what := fmt.Sprintf("id %x", id)
	if s.whats[what] || id == [8]byte{} {
		return
	}
	s.whats[what] = true
	back := id
	slices.Reverse(back[:])
	for _, one := range [][8]byte{id, back} {
		s.add(what, one[:])
		for shift := 1; shift < 8; shift++ {
			// The octets that are of the id alone.
			s.add(what, binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(one[:])<<shift)[:7])
		}
		text := hex.EncodeToString(one[:])
		s.add(what, []byte(text))
		s.add(what, []byte(strings.ToUpper(text)))
	}
}

// text adds a text: as UTF-8, as GBK, and as JSON may write it.
func (s *search) text(text string) {
	s.whats[text] = true
	s.add(text, []byte(text))
	s.add(text, gbk(text))
	escaped := ""
	for _, r := range text {
		if r < 0x80 {
			escaped += string(r)
		} else {
			escaped += fmt.Sprintf(`\u%04x`, r)
		}
	}
	s.add(text, []byte(escaped))
}

// gbk is a text as frames have it.
func gbk(text string) []byte {
	out, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte(text))
	if err != nil {
		panic(err)
	}
	return out
}

// in names the secrets that data holds, as it is.
func (s *search) in(data []byte) (found []string) {
	for i := 0; i+7 <= len(data); i++ {
		if !s.begins[begin(data[i:])] {
			continue
		}
		for _, p := range s.all[[7]byte(data[i:])] {
			if bytes.HasPrefix(data[i:], p.bytes) && !slices.Contains(found, p.what) {
				found = append(found, p.what)
			}
		}
	}
	return found
}

// coded are words that may be octets in hex or base64.
var coded = regexp.MustCompile(`[0-9A-Za-z+/_-]{14,}`)

// inText is in, for what is written in words that may be octets.
func (s *search) inText(data []byte) (found []string) {
	found = s.in(data)
	for _, word := range coded.FindAll(data, -1) {
		if octets, err := hex.DecodeString(string(word[:len(word)&^1])); err == nil {
			found = append(found, s.in(octets)...)
		}
		for _, as := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for cut := range 4 { // the word may begin before it
				if n := (len(word) - cut) &^ 3; n >= 12 {
					if octets, err := as.DecodeString(string(word[cut : cut+n])); err == nil {
						found = append(found, s.in(octets)...)
					}
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// files hands out all files of a directory.
func files(t *testing.T, dir string, see func(name string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // a folder that the hub has just removed
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		name, _ := filepath.Rel(dir, path)
		see(name, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheSearchFinds: a search that finds nothing proves nothing.
func TestTheSearchFinds(t *testing.T) {
	s := newSearch()
	id := [8]byte{0x9a, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}
	s.id(id)
	s.text("吉A·12345")
	wide := make([]byte, 10)
	binary.BigEndian.PutUint64(wide[1:], binary.BigEndian.Uint64(id[:])<<3)
	wide[0] = id[0] >> 5
	for name, data := range map[string][]byte{
		"octets": append([]byte("xyz"), id[:]...), "bits": wide, "hex": []byte("id=9A123456789ABCDE;"),
		"hex of bits": []byte(fmt.Sprintf(`{"raw":"%x"}`, wide)), "base64 of bits": []byte(`{"raw":"` + base64.StdEncoding.EncodeToString(append([]byte("??"), wide...)) + `"}`),
		"text": []byte("plate 吉A·12345."), "escaped": []byte(`"\u5409A\u00b712345"`),
	} {
		if found := s.inText(data); len(found) != 1 {
			t.Errorf("%s: found %v", name, found)
		}
	}
	if found := s.inText([]byte("吉A·1****, 9a1234567, nothing of it")); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}

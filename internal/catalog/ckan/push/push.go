// Package push makes another CKAN have our datasets, by its action API. A dataset
// is one package there, known by its id and by a name of its own, however often
// an answer is lost. What others added to a package stays.
package push

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/ckan"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config is a CKAN that the catalogue is pushed to.
type Config struct {
	// Name is what it is called here: 1 to 40 of a-z, 0-9 and hyphens, unique among all outlets.
	Name string `yaml:"name"`
	// URL is where it is, such as https://ckan.example.gov.cn; its action API is below.
	URL string `yaml:"url"`
	// KeyFile holds the API token of an account that may edit the organization; it is read for each request and never logged.
	KeyFile string `yaml:"key_file"`
	// Organization is the name or id of ours there.
	Organization string `yaml:"organization"`
	// Prefix stands before the id of a dataset in its name there, so that it cannot be that of another: 2 to 30 of a-z, 0-9, - and _.
	Prefix string `yaml:"prefix"`
	// Reconcile is how often what it has is held against what it should have; 0s: only when asked for.
	Reconcile time.Duration `yaml:"reconcile"`
	// Timeout is how long it may take to answer.
	Timeout time.Duration `yaml:"timeout"`
}

// SetDefaults implements strict.Defaulter.
func (c *Config) SetDefaults() {
	*c = Config{Prefix: "songhua-", Reconcile: 24 * time.Hour, Timeout: 30 * time.Second}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	errs := outbox.CheckName(path, c.Name)
	errs = append(errs, c.destination().Check(path)...)
	errs = append(errs, outbox.CheckURL(path, "url", c.URL)...)
	if c.KeyFile == "" {
		errs = append(errs, strict.Fault(path, "key_file", "is empty; name a file with the API token of an account that may edit the organization"))
	}
	if c.Reconcile != 0 {
		errs = append(errs, strict.AtLeast(path, "reconcile", c.Reconcile, time.Minute)...)
	}
	return append(errs, strict.Between(path, "timeout", c.Timeout, time.Second, 2*time.Minute)...)
}

func (c *Config) destination() ckan.Destination {
	return ckan.Destination{Prefix: c.Prefix, Organization: c.Organization}
}

// CKAN is a destination of the outbox.
type CKAN struct {
	cfg  Config
	base catalog.Base
	http *http.Client
}

// New returns the destination. A transport of nil is the usual one.
func New(c Config, base catalog.Base, transport http.RoundTripper) *CKAN {
	return &CKAN{cfg: c, base: base, http: &http.Client{
		Timeout: c.Timeout, Transport: transport,
		// Elsewhere nobody is to see the key.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send implements outbox.Destination.
func (c *CKAN) Send(ctx context.Context, it outbox.Item) (outbox.Known, error) {
	known := it.Known
	is, err := c.find(ctx, it)
	if err != nil {
		return known, err
	}
	if it.Entry == nil {
		return c.remove(ctx, known, is)
	}
	want := c.want(it)
	if is == nil {
		return c.create(ctx, it, &want)
	}
	known.ID, known.Name = is.ID, want.Name
	return known, c.patch(ctx, is, &want)
}

func (c *CKAN) want(it outbox.Item) ckan.Package {
	d := c.cfg.destination()
	return d.Push(it.Entry, c.base)
}

// find asks for the package of a dataset: by its id there, else by its name, so
// that what a lost answer created is found. Nil: there is none.
func (c *CKAN) find(ctx context.Context, it outbox.Item) (*ckan.Package, error) {
	d := c.cfg.destination()
	for _, id := range []string{it.Known.ID, d.Name(it.Dataset)} {
		if id == "" {
			continue
		}
		is := &ckan.Package{}
		err := c.call(ctx, "package_show", map[string]string{"id": id}, is)
		switch {
		case errors.Is(err, errMissing):
			continue
		case err != nil:
			return nil, err
		case id != it.Known.ID && !c.ours(is, it.Dataset):
			return nil, refused(fmt.Sprintf("名称 %s 在该处已属于另一数据集；请改用其他 prefix，或请对方管理员改名", id),
				fmt.Sprintf("the name %s is that of another package there; choose another prefix, or ask its administrator to rename it", id))
		}
		return is, nil
	}
	return nil, nil
}

// ours reports whether a package is of a dataset of ours.
func (c *CKAN) ours(is *ckan.Package, dataset string) bool {
	return slices.Contains(is.Extras, ckan.Extra{Key: "uri", Value: c.base.Dataset(dataset)})
}

func (c *CKAN) create(ctx context.Context, it outbox.Item, want *ckan.Package) (outbox.Known, error) {
	made := &ckan.Package{}
	err := c.call(ctx, "package_create", want, made)
	var no *outbox.Refused
	if err == nil {
		return outbox.Known{ID: made.ID, Name: want.Name}, nil
	}
	if !errors.As(err, &no) {
		return it.Known, err
	}
	// The name may be taken by what an earlier attempt created after nobody waited
	// for it any more, or by our own deleted package: not every CKAN shows those.
	is, ferr := c.find(ctx, it)
	if ferr != nil {
		return it.Known, ferr
	}
	if is == nil && it.Known.ID != "" {
		is = &ckan.Package{ID: it.Known.ID, State: "deleted"}
	}
	if is == nil {
		return it.Known, err
	}
	if perr := c.patch(ctx, is, want); !errors.Is(perr, errMissing) {
		return outbox.Known{ID: is.ID, Name: want.Name}, perr
	}
	return it.Known, err
}

func (c *CKAN) patch(ctx context.Context, is, want *ckan.Package) error {
	p := ckan.Diff(is, want)
	if p.Empty() {
		return nil
	}
	return c.call(ctx, "package_patch", &p, nil)
}

func (c *CKAN) remove(ctx context.Context, known outbox.Known, is *ckan.Package) (outbox.Known, error) {
	if is == nil || is.State == "deleted" {
		return known, nil
	}
	known.ID, known.Name = is.ID, is.Name
	err := c.call(ctx, "package_delete", map[string]string{"id": is.ID}, nil)
	if errors.Is(err, errMissing) {
		err = nil
	}
	return known, err
}

// Look implements outbox.Destination.
func (c *CKAN) Look(ctx context.Context, it outbox.Item) (outbox.Known, []string, error) {
	known := it.Known
	is, err := c.find(ctx, it)
	there := is != nil && is.State != "deleted"
	switch {
	case err != nil:
		return known, nil, err
	case it.Entry == nil && there:
		return known, []string{"state"}, nil
	case it.Entry == nil:
		return known, nil, nil
	case !there:
		return known, []string{"package"}, nil
	}
	want := c.want(it)
	p := ckan.Diff(is, &want)
	known.ID, known.Name = is.ID, want.Name
	return known, p.Fields, nil
}

var errMissing = errors.New("is not there")

func refused(zh, en string) error { return &outbox.Refused{Text: catalog.Text{ZH: zh, EN: en}} }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// call calls an action. 404 is errMissing; 409 and 400 are the package's fault.
func (c *CKAN) call(ctx context.Context, action string, in, out any) error {
	key, err := os.ReadFile(c.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("the API token cannot be read: %w", err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.cfg.URL, "/")+"/api/3/action/"+action, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", strings.TrimSpace(string(key)))
	res, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read only
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("answers with more than %d bytes", maxAnswer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return read(action, res, text, out)
}

func read(action string, res *http.Response, text []byte, out any) error {
	var a struct {
		Success bool            `json:"success"`
		Result  json.RawMessage `json:"result"`
		Error   map[string]any  `json:"error"`
	}
	bad := json.Unmarshal(text, &a)
	switch {
	case res.StatusCode == http.StatusNotFound && a.Error["__type"] == "Not Found Error":
		return fmt.Errorf("%s: it %w", action, errMissing)
	case res.StatusCode == http.StatusConflict || res.StatusCode == http.StatusBadRequest:
		said := cmp.Or(told(a.Error), short(text))
		return refused(fmt.Sprintf("该处不接受（%s，%d）：%s", action, res.StatusCode, said), fmt.Sprintf("it is not taken (%s, %d): %s", action, res.StatusCode, said))
	case res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: the account of key_file may not do this (%s); let it edit the organization there", action, res.Status)
	case res.StatusCode != http.StatusOK || bad != nil || !a.Success:
		return fmt.Errorf("%s: answers %s: %s", action, res.Status, short(text))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(a.Result, out); err != nil {
		return fmt.Errorf("%s: its answer cannot be read: %w", action, err)
	}
	return nil
}

// told is what a CKAN says is wrong, by field.
func told(fault map[string]any) string {
	if len(fault) == 0 {
		return ""
	}
	delete(fault, "__type")
	text, err := json.Marshal(fault)
	if err != nil {
		return ""
	}
	return short(text)
}

// short is the beginning of a text for people.
func short(text []byte) string {
	s := strings.ToValidUTF8(string(text), "")
	if r := []rune(s); len(r) > 500 {
		s = string(r[:500]) + "…"
	}
	return s
}

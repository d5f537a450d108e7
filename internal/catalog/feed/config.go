package feed

import (
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/dcat"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says what the catalogue is, under which addresses, and how much of it is
// kept for those who read it.
type Config struct {
	// Base is where all addresses of the catalogue begin, such as https://data.example.gov.cn. Readers know datasets by their addresses: to them, another base is another catalogue. Empty: pages.public_url, else where listen.http is, which is good for a trial on one machine.
	Base string `yaml:"base"`
	// Title names the catalogue.
	Title Text `yaml:"title"`
	// Abstract says what is in it.
	Abstract Text `yaml:"abstract"`
	// Publisher answers for the catalogue.
	Publisher Publisher `yaml:"publisher"`
	// Interval is how long changes are gathered before the next snapshot is made of them; the first after a quiet time is shown at once.
	Interval time.Duration `yaml:"interval"`
	// Refresh is how often what moves by itself is read anew: coverage, measurements.
	Refresh time.Duration `yaml:"refresh"`
	// Snapshots is how many snapshots are kept for those who read page by page, besides the current one.
	Snapshots int `yaml:"snapshots"`
	// Tombstones is how long it is told that a dataset is gone. Who asks for changes since before then must read the catalogue anew.
	Tombstones time.Duration `yaml:"tombstones"`
	// Cache bounds the pages that are kept ready.
	Cache strict.Bytes `yaml:"cache"`
}

// Text is a text for people in both languages.
type Text struct {
	// ZH is Chinese, which must be there.
	ZH string `yaml:"zh"`
	// EN is English.
	EN string `yaml:"en"`
}

// Publisher is a body with its name.
type Publisher struct {
	// Name is what it is called.
	Name Text `yaml:"name"`
	// Code is its unified social credit code, of 18 characters; empty: not told.
	Code string `yaml:"code"`
}

// DefaultConfig returns what holds for a hub without a config file.
func DefaultConfig() Config {
	return Config{
		Title:     Text{"公共数据目录", "Catalogue of public data"},
		Abstract:  Text{"本枢纽感知数据形成的公共数据集", "Public datasets made of what this hub's devices sense"},
		Publisher: Publisher{Name: Text{"本枢纽运营单位", "The operator of this hub"}},
		Interval:  time.Second, Refresh: 10 * time.Minute, Snapshots: 32, Tombstones: 90 * 24 * time.Hour, Cache: 64 << 20,
	}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	if c.Base != "" {
		if _, err := catalog.ParseBase(c.Base); err != nil {
			errs = append(errs, strict.Fault(path, "base", "%v", err))
		}
	}
	for _, t := range []struct{ key, text string }{{"title.zh", c.Title.ZH}, {"abstract.zh", c.Abstract.ZH}, {"publisher.name.zh", c.Publisher.Name.ZH}} {
		if strings.TrimSpace(t.text) == "" {
			errs = append(errs, strict.Fault(path, t.key, "must be there: DCAT-AP asks for it"))
		}
	}
	if c.Publisher.Code != "" {
		if err := catalog.CreditCode(c.Publisher.Code).Check(); err != nil {
			errs = append(errs, strict.Fault(path, "publisher.code", "%v", err))
		}
	}
	return slices.Concat(errs,
		strict.Between(path, "interval", c.Interval, 10*time.Millisecond, time.Minute),
		strict.Between(path, "refresh", c.Refresh, time.Second, 24*time.Hour),
		strict.Between(path, "snapshots", c.Snapshots, 1, 1000),
		strict.Between(path, "tombstones", c.Tombstones, 24*time.Hour, 10*365*24*time.Hour),
		strict.Between(path, "cache", c.Cache, 1<<20, 16<<30),
	)
}

// about is what is said of the catalogue itself.
func (c *Config) about(base catalog.Base) *dcat.About {
	return &dcat.About{
		Base: base, Title: catalog.Text(c.Title), Abstract: catalog.Text(c.Abstract),
		Publisher: catalog.Provider{Name: catalog.Text(c.Publisher.Name), Code: catalog.CreditCode(c.Publisher.Code)},
	}
}

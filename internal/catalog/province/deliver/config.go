package deliver

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/province"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config is a platform that the catalogue is delivered to: by HTTPS where url is
// set, into a directory where directory is.
type Config struct {
	// Name is what the outlet is called here: 1 to 40 of a-z, 0-9 and hyphens, unique among all outlets.
	Name string `yaml:"name"`
	// Platform is what the platform is called, in messages.
	Platform string `yaml:"platform"`
	// Format is csv or json: the template of 政务信息资源目录编制指南.
	Format string `yaml:"format"`
	// URL takes a dataset a request; a withdrawn one too, with Catalogue-Action: withdraw.
	URL string `yaml:"url"`
	// Method is POST or PUT.
	Method string `yaml:"method"`
	// HeadersFile holds headers that go with every request, a line each, such as a key; it is read for each request and never logged.
	HeadersFile string `yaml:"headers_file"`
	// Certificate is a PEM file by which the hub shows who it is; empty: it does not.
	Certificate string `yaml:"certificate"`
	// Key is the private key of the certificate.
	Key string `yaml:"key"`
	// CA is a PEM file of the authorities that the platform's certificate is of; empty: those of the system.
	CA string `yaml:"ca"`
	// Timeout is how long the platform may take to answer.
	Timeout time.Duration `yaml:"timeout"`
	// Answer says where in its answers in JSON the platform says what.
	Answer Answer `yaml:"answer"`
	// Directory is where files are put for the platform to fetch: ID-NUMBER.csv or .json, whole or not at all. A file ID-NUMBER.receipt.json beside it is read as its answer.
	Directory string `yaml:"directory"`
	// MaxFiles bounds the files in the directory: who does not fetch them is told no more.
	MaxFiles int `yaml:"max_files"`
	// Reconcile is how often receipts in the directory are looked for; 0s: only when asked for.
	Reconcile time.Duration `yaml:"reconcile"`
	// Codes are the platform's code tables. What they lack is not sent.
	Codes Codes `yaml:"codes"`
}

// Answer names fields of an answer in JSON, by a path with dots such as
// data.resourceCode. Those that are empty are not looked for.
type Answer struct {
	// OK is the field that says whether it was taken.
	OK string `yaml:"ok"`
	// Values are what that field has when it was.
	Values []string `yaml:"values"`
	// Message is the field that says why not.
	Message string `yaml:"message"`
	// Code is the field with 信息资源代码 as the platform gave it.
	Code string `yaml:"code"`
	// Receipt is the field with the number of the receipt.
	Receipt string `yaml:"receipt"`
}

// Codes are code tables: what a value of ours is called there.
type Codes struct {
	// Share is 共享类型 of unconditional, conditional, none.
	Share map[string]string `yaml:"share"`
	// Open is 是否向社会开放 of unconditional, conditional, none.
	Open map[string]string `yaml:"open"`
	// Cycle is 更新周期 of continuous, irregular, never, or a period such as 10m, 1h, 24h.
	Cycle map[string]string `yaml:"cycle"`
	// Type is 数据类型 of number, integer, boolean, string, datetime, geometry.
	Type map[string]string `yaml:"type"`
	// Format is 信息资源格式 of a media type, such as text/csv.
	Format map[string]string `yaml:"format"`
	// Grade is 数据分级 of general, important, core.
	Grade map[string]string `yaml:"grade"`
}

// SetDefaults implements strict.Defaulter.
func (c *Config) SetDefaults() {
	*c = Config{Format: "json", Method: "POST", Timeout: 30 * time.Second, MaxFiles: 10_000, Reconcile: 10 * time.Minute}
}

func (c *Config) destination() *province.Destination {
	t := c.Codes
	return &province.Destination{Name: c.Platform, Share: t.Share, Open: t.Open, Cycle: t.Cycle, Type: t.Type, Format: t.Format, Grade: t.Grade}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	errs := outbox.CheckName(path, c.Name)
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	for _, e := range c.destination().Check(path + ".codes") {
		e.Path = strings.Replace(e.Path, ".codes.name", ".platform", 1)
		errs = append(errs, e)
	}
	if c.Format != "csv" && c.Format != "json" {
		fault("format", "%.20q is neither csv nor json", c.Format)
	}
	if (c.URL == "") == (c.Directory == "") {
		fault("url", "one of url and directory says how it gets there, not both and not none")
	}
	if c.URL != "" {
		errs = append(errs, outbox.CheckURL(path, "url", c.URL)...)
	} else if c.HeadersFile != "" || c.Certificate != "" || c.CA != "" {
		fault("url", "is empty, and headers_file, certificate and ca mean nothing without it")
	}
	if c.Directory != "" && !filepath.IsAbs(c.Directory) {
		fault("directory", "%.200q is no path from the root; write it whole", c.Directory)
	}
	if (c.Certificate == "") != (c.Key == "") {
		fault("key", "certificate and key belong together; one of them is missing")
	}
	if c.Method != "POST" && c.Method != "PUT" {
		fault("method", "%.20q is neither POST nor PUT", c.Method)
	}
	if c.Answer.OK != "" && len(c.Answer.Values) == 0 {
		fault("answer.values", "is empty; say which values of %s mean that it was taken", c.Answer.OK)
	}
	if c.Reconcile != 0 {
		errs = append(errs, strict.AtLeast(path, "reconcile", c.Reconcile, time.Minute)...)
	}
	return slices.Concat(errs,
		strict.Between(path, "timeout", c.Timeout, time.Second, 2*time.Minute),
		strict.Between(path, "max_files", c.MaxFiles, 1, 1_000_000))
}

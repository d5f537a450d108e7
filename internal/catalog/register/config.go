package register

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds what people ask of the catalogue, and says how long answers may
// take.
type Config struct {
	// Core lets datasets of grade core stand in the catalogue; without it they are refused.
	Core bool `yaml:"core"`
	// Classes are what the pages call places of the classification, by the code table that the catalogue follows; one that is not named is shown by its code.
	Classes []ClassName `yaml:"classes"`
	// Calendar says which days are worked.
	Calendar Calendar `yaml:"calendar"`
	// CheckDays is within how many working days an application is checked for its form.
	CheckDays int `yaml:"check_days"`
	// DecideDays is within how many working days after that it is decided.
	DecideDays int `yaml:"decide_days"`
	// ObjectionDays is within how many working days an objection is answered.
	ObjectionDays int `yaml:"objection_days"`
	// SubjectDays is within how many working days the request of a person about personal data is answered.
	SubjectDays int `yaml:"subject_days"`
	// MaxGrant is how long a grant is good for at most.
	MaxGrant time.Duration `yaml:"max_grant"`
	// MaxOpenGrants bounds applications that are not decided and grants in force.
	MaxOpenGrants int `yaml:"max_open_grants"`
	// MaxOpenTickets bounds objections and requests that are not closed.
	MaxOpenTickets int `yaml:"max_open_tickets"`
}

// ClassName is what a place of the classification is called.
type ClassName struct {
	// Code is the place as codes begin with it, from 类 down, joined by hyphens: 2, or 2-05.
	Code string `yaml:"code"`
	// ZH is its name in Chinese.
	ZH string `yaml:"zh"`
	// EN is its name in English; empty: the Chinese one is shown.
	EN string `yaml:"en"`
}

// Check implements strict.Checker.
func (c ClassName) Check(path string) (faults []strict.Error) {
	steps := strings.Split(c.Code, "-")
	if len(steps) > len(catalog.Path{}) || slices.Contains(steps, "") {
		faults = append(faults, strict.Fault(path, "code", "%.70q is no place of the classification: it has one to four steps joined by hyphens, such as 2-05", c.Code))
	}
	if strings.TrimSpace(c.ZH) == "" {
		faults = append(faults, strict.Fault(path, "zh", "must be there: it is what people call %.70q", c.Code))
	}
	return faults
}

// Calendar is a table of days in China's time. A day that it does not name is
// worked from Monday to Friday.
type Calendar struct {
	// Holidays are days off besides Saturdays and Sundays: 2026-01-01, or 2026-02-15..2026-02-23.
	Holidays []string `yaml:"holidays"`
	// Workdays are Saturdays and Sundays that are worked: 2026-01-04.
	Workdays []string `yaml:"workdays"`
	// Until is the last day that the table is complete for, by the notice of the State Council; deadlines beyond it are said to be by the statutory days and weekends alone.
	Until string `yaml:"until"`
}

// DefaultConfig returns what holds for a hub without a config file. The calendar
// is that of the notice of 4 November 2025 for 2026. Of 2027 it has the days that
// the rules on holidays fix (全国年节及纪念日放假办法, 2024), and no exchange of days,
// which a notice yet to be entered here arranges.
func DefaultConfig() Config {
	return Config{
		Calendar: Calendar{
			Holidays: []string{
				"2026-01-01..2026-01-03", "2026-02-15..2026-02-23", "2026-04-04..2026-04-06", "2026-05-01..2026-05-05",
				"2026-06-19..2026-06-21", "2026-09-25..2026-09-27", "2026-10-01..2026-10-07",
				"2027-01-01", "2027-02-05..2027-02-08", "2027-04-05", "2027-05-01..2027-05-02", "2027-06-09", "2027-09-15", "2027-10-01..2027-10-03",
			},
			Workdays: []string{"2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"},
			Until:    "2026-12-31",
		},
		CheckDays: 5, DecideDays: 10, ObjectionDays: 15, SubjectDays: 15,
		MaxGrant: 3 * 365 * 24 * time.Hour, MaxOpenGrants: 10_000, MaxOpenTickets: 10_000,
	}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		c.twice(path),
		strict.Between(path, "check_days", c.CheckDays, 1, 250),
		strict.Between(path, "decide_days", c.DecideDays, 1, 250),
		strict.Between(path, "objection_days", c.ObjectionDays, 1, 250),
		strict.Between(path, "subject_days", c.SubjectDays, 1, 250),
		strict.Between(path, "max_grant", c.MaxGrant, time.Hour, 10*365*24*time.Hour),
		strict.Between(path, "max_open_grants", c.MaxOpenGrants, 1, 1_000_000),
		strict.Between(path, "max_open_tickets", c.MaxOpenTickets, 1, 1_000_000),
	)
}

// twice refuses a place that has two names.
func (c Config) twice(path string) (faults []strict.Error) {
	for i, one := range c.Classes {
		if at := slices.IndexFunc(c.Classes, func(other ClassName) bool { return other.Code == one.Code }); at < i {
			faults = append(faults, strict.Fault(path, fmt.Sprintf("classes[%d].code", i), "%.70q is named in classes[%d] already; remove one of them", one.Code, at))
		}
	}
	return faults
}

// Check implements strict.Checker.
func (c Calendar) Check(path string) (faults []strict.Error) {
	seen := map[string]string{}
	for _, list := range []struct {
		key string
		all []string
	}{{"holidays", c.Holidays}, {"workdays", c.Workdays}} {
		for i, s := range list.all {
			at := fmt.Sprintf("%s[%d]", list.key, i)
			from, to, err := span(s)
			if err != nil {
				faults = append(faults, strict.Fault(path, at, "%v", err))
				continue
			}
			for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
				day := d.Format(time.DateOnly)
				if before := seen[day]; before != "" {
					faults = append(faults, strict.Fault(path, at, "%s stands in %s already; remove one of them", day, before))
					break
				}
				if list.key == "workdays" && !weekend(d) {
					faults = append(faults, strict.Fault(path, at, "%s is a %s, which is worked anyway; remove it", day, d.Weekday()))
				}
				seen[day] = at
			}
		}
	}
	if _, err := time.Parse(time.DateOnly, c.Until); c.Until != "" && err != nil {
		faults = append(faults, strict.Fault(path, "until", "%q is no day; write it like 2026-12-31", c.Until))
	}
	return faults
}

func weekend(d time.Time) bool { return d.Weekday() == time.Saturday || d.Weekday() == time.Sunday }

// span reads a day or from..to, of 31 days at most.
func span(s string) (from, to time.Time, err error) {
	first, last, ranged := strings.Cut(s, "..")
	if !ranged {
		last = first
	}
	from, err = time.Parse(time.DateOnly, first)
	if err == nil {
		to, err = time.Parse(time.DateOnly, last)
	}
	if err != nil || to.Before(from) || to.Sub(from) > 31*24*time.Hour {
		return from, to, fmt.Errorf("%q is no day and no span of up to 31 days; write 2026-01-01 or 2026-02-15..2026-02-23", s)
	}
	return from, to, nil
}

// calendar is a Calendar that was read.
type calendar struct {
	off, worked map[string]bool
	until       string
}

// china is the time by which working days are counted; it has no summer time.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

func newCalendar(c Calendar) (*calendar, error) {
	if err := strict.Join(c.Check("")); err != nil {
		return nil, err
	}
	cal := &calendar{off: map[string]bool{}, worked: map[string]bool{}, until: c.Until}
	for _, list := range []struct {
		into map[string]bool
		all  []string
	}{{cal.off, c.Holidays}, {cal.worked, c.Workdays}} {
		for _, s := range list.all {
			from, to, err := span(s)
			if err != nil {
				return nil, err
			}
			for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
				list.into[d.Format(time.DateOnly)] = true
			}
		}
	}
	return cal, nil
}

func (c *calendar) works(d time.Time) bool {
	day := d.Format(time.DateOnly)
	return c.worked[day] || !c.off[day] && !weekend(d)
}

// after returns the end of the nth working day after the day of t, and whether
// the table is complete for all days up to it.
func (c *calendar) after(t time.Time, n int) (due time.Time, sure bool) {
	d := t.In(china)
	for n > 0 {
		if d = d.AddDate(0, 0, 1); c.works(d) {
			n--
		}
	}
	due = time.Date(d.Year(), d.Month(), d.Day()+1, 0, 0, 0, 0, china).UTC()
	return due, d.Format(time.DateOnly) <= c.until
}

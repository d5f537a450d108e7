package catalog

import (
	"fmt"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Interest is what data may harm when they leak, are changed or destroyed.
type Interest string

// The interests of GB/T 43697-2024.
const (
	NationalSecurity Interest = "national_security"
	Economy          Interest = "economy"
	SocialOrder      Interest = "social_order"
	PublicInterest   Interest = "public_interest"
	Organisations    Interest = "organisations"
	Persons          Interest = "persons"
)

// Interests lists the interests, the gravest first.
func Interests() []Interest {
	return []Interest{NationalSecurity, Economy, SocialOrder, PublicInterest, Organisations, Persons}
}

// Degree is how grave harm is.
type Degree string

// The degrees.
const (
	Ordinary    Degree = "ordinary"
	Serious     Degree = "serious"
	VerySerious Degree = "very_serious"
)

// Harm is what may come of a leak.
type Harm struct {
	Interest Interest
	Degree   Degree
}

// matrix is the table of GB/T 43697-2024: whose harm, how grave, which grade.
var matrix = map[Interest]map[Degree]telemetry.Grade{
	NationalSecurity: {Ordinary: telemetry.Important, Serious: telemetry.Core, VerySerious: telemetry.Core},
	Economy:          {Ordinary: telemetry.General, Serious: telemetry.Important, VerySerious: telemetry.Core},
	SocialOrder:      {Ordinary: telemetry.General, Serious: telemetry.Important, VerySerious: telemetry.Core},
	PublicInterest:   {Ordinary: telemetry.General, Serious: telemetry.Important, VerySerious: telemetry.Core},
	Organisations:    {Ordinary: telemetry.General, Serious: telemetry.General, VerySerious: telemetry.General},
	Persons:          {Ordinary: telemetry.General, Serious: telemetry.General, VerySerious: telemetry.General},
}

// GradeOf is the grade that follows from what may be harmed, and from what: the
// highest wins. Art. 74(3)
func GradeOf(harm []Harm) (telemetry.Grade, Text) {
	g, why := telemetry.General, Text{"未列出影响", "no harm is stated"}
	for i, h := range harm {
		if is := matrix[h.Interest][h.Degree]; i == 0 || is > g {
			g, why = is, Text{fmt.Sprintf("%s：%s", h.Interest, h.Degree), fmt.Sprintf("%s harm to %s", h.Degree, h.Interest)}
		}
	}
	return g, why
}

// CheckHarm refuses what the matrix does not know.
func CheckHarm(harm []Harm) []Problem {
	var ps problems
	for i, h := range harm {
		if _, known := matrix[h.Interest][h.Degree]; !known {
			ps.add(fmt.Sprintf("harm[%d]", i), "不认识 %.30q 的 %.30q", "%.30q harm to %.30q is not known: interests are %v, degrees ordinary, serious and very_serious", h.Degree, h.Interest, Interests())
		}
	}
	return ps
}

// Package dialect reads what roadside units send into the nouns of package road:
// frames of LTE-V2X, alone or framed, and JSON as T/ITS 0117-2020 has it or as
// products spell it. How a product deviates is data, in profiles.
package dialect

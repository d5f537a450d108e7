package dialect

import (
	"fmt"

	"github.com/songhua-io/hub/internal/personal"
)

// Code says in what way a message is not as the standard and its profile have it.
type Code string

// The codes. A message with findings is read all the same, but for what they say.
const (
	Spelled Code = "spelled" // a name in other case; it is read
	Unknown Code = "unknown" // a name that nobody knows; it is not read
	Typed   Code = "type"    // a value of another type; it is read where it can be
	Missing Code = "missing" // a field that must be there
)

// Finding is one deviation of a message.
type Finding struct {
	Code Code
	Path string // of the field, without the numbers of elements
	// Got and Want are names for Spelled, types for Typed.
	Got, Want string
}

// Text says it in Chinese and English.
func (f Finding) Text() (zh, en string) {
	switch f.Code {
	case Spelled:
		return fmt.Sprintf("字段 %s 应写作 %s", f.Got, f.Want), fmt.Sprintf("field %s should be %s", f.Got, f.Want)
	case Unknown:
		return fmt.Sprintf("字段 %s 不在标准之中，未读取", f.Path), fmt.Sprintf("field %s is not of the standard and is not read", f.Path)
	case Typed:
		return fmt.Sprintf("字段 %s 应为 %s，实为 %s", f.Path, f.Want, f.Got), fmt.Sprintf("field %s should be %s and is %s", f.Path, f.Want, f.Got)
	}
	return fmt.Sprintf("缺少字段 %s", f.Path), fmt.Sprintf("field %s is missing", f.Path)
}

// maxFindings bounds those of one message: the rest is as the first.
const maxFindings = 32

// maxName bounds a name that a stranger chose.
const maxName = 64

// PersonalError refuses a message that holds what names a person.
type PersonalError struct {
	Kind   personal.Kind
	Masked string
}

// Error implements error.
func (e *PersonalError) Error() string {
	return fmt.Sprintf("holds a %s number, %s: such a message is not taken; send it without", e.Kind, e.Masked)
}

package basemap

import (
	"math"
	"strconv"
)

// glyphs are 3 × 5 pixels, a row in each octal digit, the highest on top.
var glyphs = map[rune]uint16{
	'0': 0o75557, '1': 0o26227, '2': 0o71747, '3': 0o71717, '4': 0o55711, '5': 0o74717, '6': 0o74757, '7': 0o71122, '8': 0o75757, '9': 0o75717,
	'.': 0o00002, '°': 0o75700, 'N': 0o57775, 'S': 0o34216, 'E': 0o74647, 'W': 0o55775,
}

// degrees writes an angle as maps do.
func degrees(v float64, digits int, positive, negative rune) string {
	side := positive
	if v < 0 {
		side = negative
	}
	return strconv.FormatFloat(math.Abs(v), 'f', digits, 64) + "°" + string(side)
}

// label writes what the glyphs have, its corner at a pixel.
func (t *tile) label(x, y int, s string) {
	for _, r := range s {
		g := glyphs[r]
		for i := range 15 {
			px, py := x+2-i%3, y+4-i/3
			if g>>i&1 != 0 && px >= 0 && py >= 0 && px < Size && py < Size {
				t.Pix[py*Size+px] = max(t.Pix[py*Size+px], textColor)
			}
		}
		x += 4
	}
}

package gate

// touches reports whether a path lies in a zone or crosses its edge. All of it
// is in integers: the products of two differences of millionths of a degree fit.
func (z *Zone) touches(path []Point) bool {
	for i, p := range path {
		if z.holds(p) {
			return true
		}
		for c := 0; i > 0 && c < len(z.Corners); c += 2 {
			a, b := z.edge(c)
			if cross(path[i-1], p, a, b) {
				return true
			}
		}
	}
	return false
}

func (z *Zone) edge(c int) (a, b Point) {
	next := (c + 2) % len(z.Corners)
	return Point{z.Corners[c], z.Corners[c+1]}, Point{z.Corners[next], z.Corners[next+1]}
}

// holds is the even-odd rule; points on an edge are inside.
func (z *Zone) holds(p Point) bool {
	inside := false
	for c := 0; c < len(z.Corners); c += 2 {
		a, b := z.edge(c)
		side := turn(a, b, p)
		if side == 0 && between(a, b, p) {
			return true
		}
		if (a.Lat > p.Lat) != (b.Lat > p.Lat) && (side > 0) == (b.Lat > a.Lat) {
			inside = !inside
		}
	}
	return inside
}

// turn is positive where a, b, c turn left.
func turn(a, b, c Point) int64 {
	return (int64(b.Lon)-int64(a.Lon))*(int64(c.Lat)-int64(a.Lat)) - (int64(b.Lat)-int64(a.Lat))*(int64(c.Lon)-int64(a.Lon))
}

func between(a, b, p Point) bool {
	return min(a.Lon, b.Lon) <= p.Lon && p.Lon <= max(a.Lon, b.Lon) && min(a.Lat, b.Lat) <= p.Lat && p.Lat <= max(a.Lat, b.Lat)
}

func cross(a, b, c, d Point) bool {
	s, t, u, v := turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)
	if (s > 0) != (t > 0) && (u > 0) != (v > 0) && s != 0 && t != 0 && u != 0 && v != 0 {
		return true
	}
	return s == 0 && between(a, b, c) || t == 0 && between(a, b, d) || u == 0 && between(c, d, a) || v == 0 && between(c, d, b)
}

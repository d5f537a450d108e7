package traffic

// Names lists the units that are known.
func (b *Board) Names() (ids []string) {
	for _, u := range b.all() {
		ids = append(ids, u.id)
	}
	return ids
}

// Open counts the units that are known, and the minutes of them that are open.
func (b *Board) Open() (units, minutes int) {
	for _, u := range b.all() {
		u.mu.Lock()
		minutes += len(u.windows)
		u.mu.Unlock()
		units++
	}
	return units, minutes
}

package optimise

import (
	"cmp"
	"slices"
)

// improve moves jobs to where they cost less: alone, or by displacing another
// that then costs less more than is saved.
func (s *solver) improve() {
	m := mover{solver: s, left: s.newRooms(), at: make([][]int32, len(s.Places)), victims: make([]int32, 0, mostVictims)}
	for i := range s.jobs {
		s.jobs[i].choice = waits
		m.put(int32(i), s.least[i])
	}
	for n := 0; n < s.limits.Rounds && !s.stop(); n++ {
		if !m.round() {
			break
		}
	}
	s.lowest = 0
	for i := range s.jobs {
		s.least[i] = s.jobs[i].choice
		s.lowest += m.class(int32(i)).cost(s.least[i])
	}
}

// mover is the search from one solution to the next.
type mover struct {
	*solver
	left rooms
	at   [][]int32 // jobs by place

	victims []int32
	leads   []int32
	wanted  []wish
}

func (m *mover) class(j int32) *class { return &m.classes[m.jobs[j].class] }

func (m *mover) enter(j int32) {
	if o := m.jobs[j].option; o >= 0 {
		p := m.class(j).Options[o].Place
		m.at[p] = append(m.at[p], j)
	}
}

func (m *mover) leave(j int32) {
	if o := m.jobs[j].option; o >= 0 {
		p := m.class(j).Options[o].Place
		i := slices.Index(m.at[p], j)
		m.at[p] = slices.Delete(m.at[p], i, i+1)
	}
}

// put moves a job.
func (m *mover) put(j int32, c choice) {
	k := m.class(j)
	m.move(m.left, k, m.jobs[j].choice, 1)
	m.leave(j)
	m.jobs[j].choice, m.jobs[j].pays = c, 0
	if c.option >= 0 {
		m.jobs[j].pays = m.payment(k, &k.Options[c.option], int(c.start), &m.best)
	}
	m.move(m.left, k, c, -1)
	m.enter(j)
}

// round tries every job, those first that are farthest from their cheapest
// option at the prices.
func (m *mover) round() (better bool) {
	order := make([]int32, len(m.jobs))
	slack := make([]float64, len(m.jobs))
	for i := range order {
		order[i] = int32(i)
		slack[i] = m.slack(int32(i))
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(slack[b], slack[a]) })
	for _, j := range order {
		if slack[j] <= 1e-9 || m.stop() {
			break
		}
		if m.relocate(j) || m.displace(j) {
			better = true
		}
	}
	return better
}

// slack is how much more a job costs at the prices than its cheapest option.
func (m *mover) slack(j int32) float64 {
	k, c := m.class(j), m.jobs[j].choice
	cost := k.cost(c)
	if c.option >= 0 {
		cost += m.payment(k, &k.Options[c.option], int(c.start), &m.best)
	}
	_, _, value := m.cheapest(k, &m.best)
	return cost - value
}

const epsilon = 1e-9

func (m *mover) relocate(j int32) bool {
	k, old := m.class(j), m.jobs[j].choice
	m.move(m.left, k, old, 1)
	c, _, found := m.fitting(m.left, k, nil, k.cost(old)-epsilon)
	m.move(m.left, k, old, -1)
	if found {
		m.put(j, c)
	}
	return found
}

// wish is where a job would rather be.
type wish struct {
	choice
	gain  float64
	value float64 // at the prices
}

// mostWishes bounds the places and starts that a job tries to get by displacing
// others.
const mostWishes = 8

// wishes are the choices that cost a job less than now, the best at the prices
// first.
func (m *mover) wishes(k *class, now float64) []wish {
	all := m.wanted[:0]
	for _, i := range k.order {
		if k.least[i] >= now-epsilon {
			break
		}
		o := &k.Options[i]
		for n, cost := range o.Cost {
			if cost >= now-epsilon || len(all) == mostWishes && cost >= all[mostWishes-1].value {
				continue
			}
			w := wish{choice{i, int32(o.First + n)}, now - cost, cost + m.payment(k, o, o.First+n, &m.best)}
			if len(all) < mostWishes {
				all = append(all, w)
			} else if w.value >= all[mostWishes-1].value {
				continue
			}
			at := len(all) - 1
			for ; at > 0 && w.value < all[at-1].value; at-- {
				all[at] = all[at-1]
			}
			all[at] = w
		}
	}
	m.wanted = all
	return all
}

// mostVictims bounds the jobs that make way for one.
const mostVictims = 10

// displace puts a job where others are, if these can go elsewhere for less than
// is gained.
func (m *mover) displace(j int32) bool {
	k, old := m.class(j), m.jobs[j].choice
	for _, w := range m.wishes(k, k.cost(old)) {
		place := k.Options[w.option].Place
		m.put(j, waits)
		at := m.blocked(m.left, k, &k.Options[w.option], int(w.start))
		m.leads = append(m.leads[:0], m.at[place]...)
		for _, lead := range m.leads {
			if m.runs(lead, at) && m.exchange(j, w, lead) {
				return true
			}
		}
		m.put(j, old)
	}
	return false
}

// runs reports whether a job runs in a slot.
func (m *mover) runs(j int32, slot int) bool {
	c := m.jobs[j].choice
	return int(c.start) <= slot && slot < int(c.start)+m.class(j).Options[c.option].Length
}

// exchange gives a job its wish in place of one that is in the way and, where
// that is not enough, of the smallest others, if what they cost elsewhere is less
// than is gained. Otherwise all is as before.
func (m *mover) exchange(j int32, w wish, lead int32) bool {
	k := m.class(j)
	o := &k.Options[w.option]
	victims, before := m.victims[:0], [mostVictims]choice{}
	out := func(v int32) {
		before[len(victims)] = m.jobs[v].choice
		victims = append(victims, v)
		m.put(v, waits)
	}
	out(lead)
	at := m.blocked(m.left, k, o, int(w.start))
	for at >= 0 && len(victims) < mostVictims {
		v := m.smallest(o.Place, at)
		if v < 0 {
			break
		}
		out(v)
		at = m.blocked(m.left, k, o, int(w.start))
	}
	gain := w.gain
	if at < 0 {
		m.put(j, w.choice)
		for i, v := range victims {
			vk := m.class(v)
			c, cost, found := m.fitting(m.left, vk, nil, vk.cost(before[i])+gain)
			if !found {
				if c, cost = waits, vk.Wait; cost >= vk.cost(before[i])+gain {
					gain = -1
					break
				}
			}
			m.put(v, c)
			if gain -= cost - vk.cost(before[i]); gain <= epsilon {
				break
			}
		}
		if gain > epsilon {
			return true
		}
		m.put(j, waits)
	}
	for i := range victims {
		m.put(victims[i], waits)
	}
	for i := range victims {
		m.put(victims[i], before[i])
	}
	return false
}

// smallest is the job that pays least for its capacity of those that run at a
// place in a slot; -1: there is none.
func (m *mover) smallest(place, slot int) int32 {
	least, at := 0.0, int32(-1)
	for _, j := range m.at[place] {
		if pays := m.jobs[j].pays; (at < 0 || pays < least) && m.runs(j, slot) {
			least, at = pays, j
		}
	}
	return at
}

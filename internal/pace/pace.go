// Package pace says in words how long work has taken and how long it will take.
package pace

import "time"

// A Pace measures the speed of work since Started, when First units of Total were done already. A
// resumed run does not count those as its own.
type Pace struct {
	First, Total int
	Started      time.Time

	// The time left is computed from the speed since the earlier mark, about half of the time
	// ago. So work that begins slowly, or with a pause, does not count as slow forever.
	earlier, later mark
}

type mark struct {
	after time.Duration
	done  int
}

// Left returns the time left at the recent speed, or "" if nothing tells it.
func (p *Pace) Left(done int, now time.Time) string {
	after := now.Sub(p.Started)
	if p.later == (mark{}) {
		p.earlier, p.later = mark{0, p.First}, mark{after, done}
	}
	if after > 2*p.later.after {
		p.earlier, p.later = p.later, mark{after, done}
	}
	did := done - p.earlier.done
	if did <= 0 || p.Total <= done {
		return ""
	}
	return "ETA " + short(time.Duration(float64(after-p.earlier.after)*float64(p.Total-done)/float64(did)))
}

// Taken returns the time since the start.
func (p *Pace) Taken(now time.Time) string { return "in " + short(now.Sub(p.Started)) }

// short rounds a duration for people.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

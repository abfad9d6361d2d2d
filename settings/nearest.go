package settings

import "strings"

// Nearest returns the known name that a misspelt one is probably meant for, or "" if none is
// similar. Of names that are equally near, the first counts.
func Nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		d := distance(k, name)
		if len(name) >= 3 && strings.HasPrefix(k, name) {
			d = min(d, 2)
		}
		if d < least && d < len(name) {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters must be added, removed or replaced to turn one word into the
// other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

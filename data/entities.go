package data

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skive-ml/skive/head"
)

// entity is a run of words of one type, from start to end.
type entity struct{ start, end, kind int }

// tag is what a label says: a mark, and the number of the entity's type. seqeval's two modes
// extract them from the label in different ways.
type tag struct {
	mark                rune
	kind, kindForStrict int
}

// outsideTag is the tag of "O". Type 0 is that of a label without a type.
var outsideTag = tag{mark: 'O'}

// tagging says how a task's labels mark entities.
type tagging struct {
	tags []tag
	// suffix says that the mark is at the end ("PER-B").
	suffix bool
	// schemes are the possible schemes for the marks. There are none if seqeval has no scheme
	// with such marks.
	schemes []*scheme
}

// marks are the marks of IOB, IOE, BIOES (IOBES) and BILOU, and M of BMES.
const marks = "BIESLUM"

// marked splits a label into its mark and the rest.
func marked(label string, suffix bool) (mark rune, rest string) {
	if suffix {
		mark, size := utf8.DecodeLastRuneInString(label)
		return mark, label[:len(label)-size]
	}
	mark, size := utf8.DecodeRuneInString(label)
	return mark, label[size:]
}

// tagging returns how the labels mark entities, or nil if they do not. They do in two cases. All
// labels except "O" are marks, with a type before or after them, or without one. Or some labels
// begin with B- or I-; then the others may be anything.
func (t Task) tagging() *tagging {
	all := map[bool]bool{false: true, true: true} // indexed by suffix
	begins, typed, used := false, false, ""
	for _, label := range t.Labels {
		if label == "" {
			return nil
		}
		if label == "O" {
			continue
		}
		begins = begins || strings.HasPrefix(label, "B-") || strings.HasPrefix(label, "I-")
		typed = typed || len(label) > 1
		for suffix := range all {
			mark, rest := marked(label, suffix)
			dash := rest == "" || !suffix && rest[0] == '-' || suffix && rest[len(rest)-1] == '-'
			all[suffix] = all[suffix] && dash && strings.ContainsRune(marks, mark)
		}
	}
	tg := &tagging{suffix: all[true] && !all[false] && !begins}
	kinds := []string{"_"}
	number := func(kind string) int {
		if kind == "" {
			return 0
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		return slices.Index(kinds, kind)
	}
	for _, label := range t.Labels {
		mark, rest := marked(label, tg.suffix)
		kind := rest
		if i := strings.LastIndexByte(rest, '-'); i >= 0 && tg.suffix {
			kind = rest[:i]
		} else if _, after, ok := strings.Cut(rest, "-"); ok && !tg.suffix {
			kind = after
		}
		tg.tags = append(tg.tags, tag{mark, number(kind), number(strings.Trim(rest, "-"))})
		if label != "O" {
			used += string(mark)
		}
	}
	if !all[false] && !all[true] {
		if !begins {
			return nil
		}
		return tg
	}
	switch of := func(scheme string) bool { return strings.Trim(used, scheme) == "" }; {
	case !typed && !strings.ContainsAny(used, "BI"):
		return nil // single letters, which may mean anything
	case of("BI"):
		tg.schemes = []*scheme{iob2, iob1}
	case of("IE"):
		tg.schemes = []*scheme{ioe2, ioe1}
	case of("BIES"):
		tg.schemes = []*scheme{iobes}
	case of("BILU"):
		tg.schemes = []*scheme{bilou}
	case !strings.ContainsAny(used, "BI"):
		return nil
	}
	return tg
}

// Scheme names the scheme in which the labels of words mark entities: IOB1, IOB2, IOE1, IOE2,
// IOBES (BIOES) or BILOU, or "other" for none of these. It is "" if the labels mark no entities.
// IOB1 and IOB2 have the same labels, and so have IOE1 and IOE2; the use of the true labels tells
// them apart.
func (o *Outcome) Scheme() string {
	tg := o.tagging()
	if tg == nil {
		return ""
	}
	s := o.scheme(tg)
	switch {
	case s == nil:
		return "other"
	case tg.suffix:
		return fmt.Sprintf("%s, marks last", s.name)
	}
	return s.name
}

// tagging returns the task's tagging if words are labelled.
func (o *Outcome) tagging() *tagging {
	if o.Task.Kind.Subject() != head.Words {
		return nil
	}
	return o.Task.tagging()
}

// scheme returns the scheme of the true labels, or nil. It is IOB1 rather than IOB2 if B is never
// used where I would do, and some entity begins with I. It is IOE1 rather than IOE2 if E is never
// used where I would do, and some entity ends with I.
func (o *Outcome) scheme(tg *tagging) *scheme {
	if len(tg.schemes) < 2 {
		return slices.Concat(tg.schemes, []*scheme{nil})[0]
	}
	first, second := tg.schemes[0], tg.schemes[1]
	plain, mark := false, false // at the edge of an entity that needs no mark
	for _, u := range o.units() {
		labels := o.Want[u[0]:u[1]]
		for i := range labels {
			neighbour := i - 1
			if first == ioe2 {
				neighbour = i + 1
			}
			here, there := tg.at(labels, i), tg.at(labels, neighbour)
			if there.mark != 'O' && there.kindForStrict == here.kindForStrict {
				continue
			}
			plain = plain || here.mark == 'I'
			mark = mark || here.mark == 'B' || here.mark == 'E'
		}
	}
	if plain && !mark {
		return second
	}
	return first
}

// at returns the tag of word i. Outside of the sentence, and for a word without an answer, it is
// that of "O".
func (tg *tagging) at(labels []int32, i int) tag {
	if i < 0 || i >= len(labels) || labels[i] < 0 {
		return outsideTag
	}
	return tg.tags[labels[i]]
}

// entityF1 returns the F1 of the entities. An entity is right if its type and both ends are.
// seqeval defines the entities of a sentence: by conlleval's rules, which accept marks that do
// not fit together, or strictly by a scheme.
func (o *Outcome) entityF1(tg *tagging, s *scheme) float64 {
	right, either := 0, 0
	var found, want []entity
	var foundStart, wantStart int
	for _, u := range o.units() {
		if s != nil {
			found, want = tg.strict(found[:0], s, o.Predicted[u[0]:u[1]]), tg.strict(want[:0], s, o.Want[u[0]:u[1]])
		} else {
			found, foundStart = tg.forgiving(found[:0], foundStart, u[0], o.Predicted[u[0]:u[1]])
			want, wantStart = tg.forgiving(want[:0], wantStart, u[0], o.Want[u[0]:u[1]])
		}
		either += len(found) + len(want)
		for i, j := 0, 0; i < len(found) && j < len(want); { // both are sorted by their ends
			if found[i] == want[j] {
				right++
			}
			if found[i].end <= want[j].end {
				i++
			} else {
				j++
			}
		}
	}
	return ratio(2*float64(right), float64(either))
}

// forgiving appends the entities of a sentence by conlleval's rules as seqeval implements them.
// The rules know B, I, E, S and O; any other mark continues an entity of the same type. start is
// where the last entity began, possibly in an earlier sentence.
func (tg *tagging) forgiving(dst []entity, start, first int, labels []int32) ([]entity, int) {
	before := outsideTag
	for i := range len(labels) + 1 {
		t := tg.at(labels, i)
		other := before.kind != t.kind
		inside, ends := before.mark == 'B' || before.mark == 'I', before.mark == 'E' || before.mark == 'S'
		if ends || inside && (t.mark == 'B' || t.mark == 'S' || t.mark == 'O') ||
			other && before.mark != 'O' && before.mark != '.' {
			dst = append(dst, entity{start, first + i - 1, before.kind})
		}
		if t.mark == 'B' || t.mark == 'S' || (ends || before.mark == 'O') && t.mark == 'I' ||
			(ends || before.mark == 'O') && t.mark == 'E' || other && t.mark != 'O' && t.mark != '.' {
			start = first + i
		}
		before = t
	}
	return dst, start
}

// strict appends the entities of a sentence that follow a scheme.
func (tg *tagging) strict(dst []entity, s *scheme, labels []int32) []entity {
	for i := 0; i < len(labels); {
		t := tg.at(labels, i)
		if !s.starts.match(tg.at(labels, i-1), t) {
			i++
			continue
		}
		end := i + 1
		for s.insides.match(tg.at(labels, end-1), tg.at(labels, end)) {
			end++
		}
		if s.ends.match(tg.at(labels, end-1), tg.at(labels, end)) {
			dst = append(dst, entity{i, end - 1, t.kindForStrict})
		}
		i = end
	}
	return dst
}

// scheme says which pairs of neighbouring words are at the start, inside, or just after the end
// of an entity. Each condition is about the second word of the pair.
type scheme struct {
	name                  string
	starts, insides, ends patterns
}

// patterns are pairs of marks, each with a comparison of their types: '=' equal, '!' different,
// '?' any. The mark '*' stands for any.
type patterns []string

func (p patterns) match(a, b tag) bool {
	same := a.kindForStrict == b.kindForStrict
	for _, s := range p {
		if (s[0] == '*' || rune(s[0]) == a.mark) && (s[1] == '*' || rune(s[1]) == b.mark) &&
			(s[2] == '?' || (s[2] == '=') == same) {
			return true
		}
	}
	return false
}

// The schemes as seqeval defines them.
var (
	iob1 = &scheme{"IOB1",
		patterns{"OI?", "II!", "BI?", "IB=", "BB="}, patterns{"BI=", "II="},
		patterns{"II!", "IO?", "IB?", "BO?", "BI!", "BB="}}
	iob2 = &scheme{"IOB2",
		patterns{"*B?"}, patterns{"BI=", "II="},
		patterns{"IO?", "II!", "IB?", "BO?", "BI!", "BB?"}}
	ioe1 = &scheme{"IOE1",
		patterns{"OI?", "II!", "EI?", "EE="}, patterns{"II=", "IE="},
		patterns{"II!", "IO?", "IE!", "EI=", "EE="}}
	ioe2 = &scheme{"IOE2",
		patterns{"OI?", "OE?", "EI?", "EE?", "II!", "IE!"}, patterns{"IE=", "II="},
		patterns{"E*?"}}
	iobes = &scheme{"IOBES",
		patterns{"*B?", "*S?"}, patterns{"BI=", "BE=", "II=", "IE="},
		patterns{"S*?", "E*?"}}
	bilou = &scheme{"BILOU",
		patterns{"*B?", "*U?"}, patterns{"BI=", "BL=", "II=", "IL="},
		patterns{"U*?", "L*?"}}
)

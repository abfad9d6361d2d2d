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

// tag is what a label says: a mark and the number of the entity's type, which
// seqeval's two modes cut out of the label in different ways.
type tag struct {
	mark                rune
	kind, kindForStrict int
}

// outsideTag is the tag of "O". The type 0 is that of a label without one.
var outsideTag = tag{mark: 'O'}

// tagging is how a task's labels mark entities.
type tagging struct {
	tags []tag
	// suffix says that the mark stands last ("PER-B").
	suffix bool
	// schemes are those to which the marks may belong, none for marks that
	// seqeval knows no scheme of.
	schemes []*scheme
}

// marks are those of IOB, IOE, BIOES (IOBES) and BILOU, and the M of BMES.
const marks = "BIESLUM"

// marked cuts a label into its mark and the rest.
func marked(label string, suffix bool) (mark rune, rest string) {
	if suffix {
		mark, size := utf8.DecodeLastRuneInString(label)
		return mark, label[:len(label)-size]
	}
	mark, size := utf8.DecodeRuneInString(label)
	return mark, label[size:]
}

// tagging returns how the labels mark entities, nil where they do not. Either
// all labels but "O" are marks with a type after or before them, or without
// one; or some begin with B- or I-, and the others may be anything.
func (t Task) tagging() *tagging {
	all := map[bool]bool{false: true, true: true} // by suffix
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
		return nil // single letters that may stand for anything
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

// Scheme names the scheme by which the labels of words mark entities: IOB1,
// IOB2, IOE1, IOE2, IOBES (BIOES) or BILOU, or "other" for labels that belong to
// none of them. It is "" where they mark no entities. IOB1 and IOB2 have the same
// labels, and so have IOE1 and IOE2: how the true labels use them decides.
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

// tagging is the task's in an outcome of words.
func (o *Outcome) tagging() *tagging {
	if o.Task.Kind.Subject() != head.Words {
		return nil
	}
	return o.Task.tagging()
}

// scheme returns the scheme of the true labels, nil for none. Of IOB it is IOB1
// where no B begins what an I could begin, and an I begins something; of IOE it
// is IOE1 where no E ends what an I could end, and an I ends something.
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

// at is the tag of word i, outside of the sentence and for a word without an
// answer that of "O".
func (tg *tagging) at(labels []int32, i int) tag {
	if i < 0 || i >= len(labels) || labels[i] < 0 {
		return outsideTag
	}
	return tg.tags[labels[i]]
}

// entityF1 is the F1 of the entities, right when type and both ends are. What
// the entities of a sentence are is seqeval's: by conlleval's rules, which
// forgive marks that do not fit together, or strictly by a scheme.
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
		for i, j := 0, 0; i < len(found) && j < len(want); { // both are in the order of their ends
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

// forgiving appends the entities of a sentence by the rules of conlleval as
// seqeval has them, which know B, I, E, S and O; any other mark goes on with
// what is of its type. start is where the last entity began, also in a sentence
// before.
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

// strict appends the entities of a sentence that keep to a scheme.
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

// scheme says which neighbours make the start, the inside and the end of an
// entity: it starts, or goes on, at the second of two words, or has ended before it.
type scheme struct {
	name                  string
	starts, insides, ends patterns
}

// patterns are pairs of marks, and how their types compare: '=' the same, '!'
// different, '?' either. The mark '*' stands for any.
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

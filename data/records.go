package data

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/tokenize"
)

// nested decodes a value of a JSON record.
func nested(r row, key string, v any) error {
	o, ok := r.(object)
	if !ok {
		return fmt.Errorf("expected a JSON object with %q", key)
	}
	if !o.has(key) {
		return fmt.Errorf("expected the key %q, found %s", key, quoted(r.names()))
	}
	if err := json.Unmarshal(o[key], v); err != nil {
		return fmt.Errorf("%q: %w", key, err)
	}
	return nil
}

// number reads a whole number, which is text in a CSV or TSV.
func number(r row, column string) (int, error) {
	c := r.cell(column)
	n, err := strconv.Atoi(c.text)
	if err != nil || c.kind != integer && c.kind != plain {
		return 0, fmt.Errorf("%q: expected a whole number, found %s", column, c.describe())
	}
	return n, nil
}

// make counts the size of another example of a record.
func (p *parser) make(bytes int) error {
	if p.made += bytes; p.made > maxMade {
		return fmt.Errorf("the record makes examples of more than %d MB of text", maxMade>>20)
	}
	return nil
}

// one makes a single example from a record by the layouts.
func one(p *parser, r row, line int) ([]Example, error) {
	e, err := p.example(r, line)
	p.single[0] = e
	return p.single[:], err
}

// Questions of COPA, in its own words.
var copaQuestions = map[string]string{
	"cause":  "What was the cause of this?",
	"effect": "What happened as a result?",
}

// copa reads a premise, two choices, and whether they are causes or effects. The first text is
// the premise followed by the question in words.
func copa(p *parser, r row, line int) ([]Example, error) {
	e := Example{Choices: make([]string, 2)}
	var question string
	err := texts(r, []string{"premise", "question", "choice1", "choice2"}, &e.Text, &question, &e.Choices[0], &e.Choices[1])
	if err != nil {
		return nil, err
	}
	words, ok := copaQuestions[question]
	if !ok {
		return nil, fmt.Errorf(`"question": expected "cause" or "effect", found %q`, question)
	}
	e.Text += " " + words
	e.Label, err = p.choice(r.cell("label"), "label", len(e.Choices))
	return []Example{e}, err
}

// choices reads a text and its choices, a JSON list.
func choices(p *parser, r row, line int) ([]Example, error) {
	l := p.layouts[len(p.layouts)-1]
	var e Example
	var err error
	if !r.has(l.text) {
		return nil, fmt.Errorf("expected the column %q, found %s", l.text, quoted(r.names()))
	}
	if e.Text, err = text(r, l.text); err != nil {
		return nil, err
	}
	if err := nested(r, "choices", &e.Choices); err != nil {
		return nil, err
	}
	if len(e.Choices) < 2 {
		return nil, fmt.Errorf(`"choices": expected two at least, found %d`, len(e.Choices))
	}
	if err := p.make(len(e.Choices) * len(e.Text)); err != nil {
		return nil, err
	}
	e.Label, err = p.choice(r.cell(l.label), l.label, len(e.Choices))
	return []Example{e}, err
}

// choice returns the number of the right one of n choices, or -1 if it is not known.
func (p *parser) choice(c cell, column string, n int) (int, error) {
	if p.o.NoLabels {
		return -1, nil
	}
	if c.kind == missing || c.kind == plain && c.text == "" {
		if p.o.RequireLabels {
			return -1, fmt.Errorf("the label is missing: expected the column %q", column)
		}
		return -1, nil
	}
	i, err := strconv.Atoi(wholeNumber(c.text))
	if err == nil && i == -1 && !p.o.RequireLabels {
		return -1, nil
	}
	if err != nil || i < 0 || i >= n {
		return -1, fmt.Errorf("%q: label %s is not the number of a choice from 0 to %d", column, c.describe(), n-1)
	}
	return i, nil
}

// group returns the number of the group with this key.
func (p *parser) group(key string) int {
	n, ok := p.byGroup[key]
	if !ok {
		n = p.groups
		p.groups++
		p.byGroup[key] = n
	}
	return n
}

// alone reads an example from a row that does not say to which group it belongs.
func alone(p *parser, r row, line int) ([]Example, error) {
	examples, err := one(p, r, line)
	p.ungrouped = true
	for i := range examples {
		examples[i].Group = p.groups
		p.groups++
	}
	return examples, err
}

// multirc reads a passage with questions and their answers. Each answer is an example: the
// passage, and the question followed by the answer.
func multirc(p *parser, r row, line int) ([]Example, error) {
	switch {
	case r.has("paragraph"):
		return multircAnswer(p, r, line)
	case !r.has("passage"):
		return alone(p, r, line)
	}
	var passage struct {
		Text      *string
		Questions []struct {
			Question string
			Answers  []map[string]json.RawMessage
		}
	}
	if err := nested(r, "passage", &passage); err != nil {
		return nil, err
	}
	if passage.Text == nil {
		return nil, fmt.Errorf(`"passage": expected the key "text"`)
	}
	var examples []Example
	for i, q := range passage.Questions {
		for j, answer := range q.Answers {
			where := fmt.Sprintf("question %d, answer %d", i+1, j+1)
			a := object(answer)
			words, err := text(a, "text")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			label, err := p.label(a.cell("label"), "label", line)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			if err := p.make(len(*passage.Text) + len(q.Question) + len(words)); err != nil {
				return nil, err
			}
			examples = append(examples, Example{Text: *passage.Text, Pair: q.Question + " " + words, HasPair: true, Label: label, Group: p.groups})
		}
		p.groups++
	}
	return examples, nil
}

// These match how MultiRC's flat form numbers the question, in JSON or as Python prints it.
var (
	multircParagraph = regexp.MustCompile(`["']paragraph["']: *(\d+)`)
	multircQuestion  = regexp.MustCompile(`["']question["']: *(\d+)`)
)

// multircAnswer reads one answer in the form of Hugging Face's data set. The numbers in "idx"
// identify its question, or else the texts of question and paragraph do.
func multircAnswer(p *parser, r row, line int) ([]Example, error) {
	var paragraph, question, answer string
	if err := texts(r, []string{"paragraph", "question", "answer"}, &paragraph, &question, &answer); err != nil {
		return nil, err
	}
	label, err := p.label(r.cell("label"), "label", line)
	if err != nil {
		return nil, err
	}
	key := paragraph + "\x00" + question
	idx := r.cell("idx").text
	if n, m := multircParagraph.FindStringSubmatch(idx), multircQuestion.FindStringSubmatch(idx); n != nil && m != nil {
		key = n[1] + " " + m[1]
	} else if n, m := r.cell("idx.paragraph"), r.cell("idx.question"); n.kind != missing && m.kind != missing {
		key = n.text + " " + m.text
	}
	return []Example{{Text: paragraph, Pair: question + " " + answer, HasPair: true, Label: label, Group: p.group(key)}}, nil
}

// texts reads text columns, which must all exist.
func texts(r row, names []string, to ...*string) error {
	for i, name := range names {
		if !r.has(name) {
			last := len(names) - 1
			return fmt.Errorf("expected the columns %s and %q, found %s", quoted(names[:last]), names[last], quoted(r.names()))
		}
		var err error
		if *to[i], err = text(r, name); err != nil {
			return err
		}
	}
	return nil
}

var (
	highlightAfterStop = regexp.MustCompile(`([.?!"'])\n@highlight\n`)
	highlight          = regexp.MustCompile(`\n@highlight\n`)
)

// record reads a passage with its queries. Each entity of the passage is an example for each
// query: the passage, and the query with the entity instead of "@placeholder".
func record(p *parser, r row, line int) ([]Example, error) {
	if !r.has("passage") {
		if p.o.RequireLabels {
			return nil, fmt.Errorf(`expected the keys "passage" and "qas", or "passage", "query", "entities" and "answers", found %s`, quoted(r.names()))
		}
		return alone(p, r, line)
	}
	if r.cell("passage").kind == quotedText {
		return recordQuery(p, r)
	}
	var passage struct {
		Text     string
		Entities []struct{ Start, End int } // in characters; End is the last one
	}
	var queries []struct {
		Query   string
		Answers []struct{ Text string }
	}
	if err := nested(r, "passage", &passage); err != nil {
		return nil, err
	}
	if err := nested(r, "qas", &queries); err != nil {
		return nil, err
	}
	characters := []rune(passage.Text)
	var entities []string
	for i, e := range passage.Entities {
		if e.Start < 0 || e.End < e.Start || e.End >= len(characters) {
			return nil, fmt.Errorf("entity %d is from %d to %d of %d characters", i+1, e.Start, e.End, len(characters))
		}
		entities = append(entities, string(characters[e.Start:e.End+1]))
	}
	var examples []Example
	for i, q := range queries {
		var answers []string
		for _, a := range q.Answers {
			answers = append(answers, a.Text)
		}
		some, err := p.query(passage.Text, q.Query, entities, answers)
		if err != nil {
			return nil, fmt.Errorf("query %d: %w", i+1, err)
		}
		examples = append(examples, some...)
	}
	return examples, nil
}

// recordQuery reads one query in the form of Hugging Face's data set.
func recordQuery(p *parser, r row) ([]Example, error) {
	var passage, query string
	if err := texts(r, []string{"passage", "query"}, &passage, &query); err != nil {
		return nil, err
	}
	var entities, answers []string
	if err := nested(r, "entities", &entities); err != nil {
		return nil, err
	}
	if r.has("answers") {
		if err := nested(r, "answers", &answers); err != nil {
			return nil, err
		}
	}
	return p.query(passage, query, entities, answers)
}

// query makes the examples of a query in ReCoRD.
func (p *parser) query(passage, query string, entities, answers []string) ([]Example, error) {
	if p.o.RequireLabels && len(answers) == 0 {
		return nil, fmt.Errorf("the query has no answers")
	}
	// Bullet points of a story become sentences.
	story := highlight.ReplaceAllString(highlightAfterStop.ReplaceAllString(passage, "$1 "), ". ")
	var examples []Example
	done := map[string]bool{}
	for _, entity := range entities {
		if done[entity] {
			continue
		}
		done[entity] = true
		if err := p.make(len(story) + len(query) + strings.Count(query, "@placeholder")*len(entity)); err != nil {
			return nil, err
		}
		e := Example{Text: story, Pair: strings.ReplaceAll(query, "@placeholder", entity), HasPair: true, Label: -1, Group: p.groups}
		for _, answer := range answers {
			e.Label = max(e.Label, 0)
			if given, want := answerWords(entity), answerWords(answer); slices.Equal(given, want) {
				e.Label, e.Value = 1, 1
			} else {
				e.Value = max(e.Value, overlap(given, want))
			}
		}
		examples = append(examples, e)
	}
	p.groups++
	return examples, nil
}

// answerWords returns the words of an answer as SQuAD and ReCoRD compare them: in lower case,
// without ASCII punctuation and articles.
func answerWords(s string) []string {
	s = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, strings.ToLower(s))
	return slices.DeleteFunc(strings.Fields(s), func(w string) bool { return w == "a" || w == "an" || w == "the" })
}

// overlap returns the F1 of the words of an answer against the wanted ones.
func overlap(given, want []string) float32 {
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	common := 0
	for _, w := range given {
		if left[w] > 0 {
			left[w]--
			common++
		}
	}
	if common == 0 {
		return 0
	}
	return 2 * float32(common) / float32(len(given)+len(want))
}

// wic reads two sentences that share a word. The word is put before the first sentence. If the
// record says where it occurs, it is marked with "*" in both.
func wic(p *parser, r row, line int) ([]Example, error) {
	e, err := p.example(r, line)
	if err != nil || !r.has("word") {
		return []Example{e}, err
	}
	word, err := text(r, "word")
	if err != nil {
		return nil, err
	}
	for n, sentence := range map[string]*string{"1": &e.Text, "2": &e.Pair} {
		if !r.has("start" + n) {
			continue
		}
		start, err := number(r, "start"+n)
		if err != nil {
			return nil, err
		}
		end, err := number(r, "end"+n)
		if err != nil {
			return nil, err
		}
		characters := []rune(*sentence)
		if start < 0 || end <= start || end > len(characters) {
			return nil, fmt.Errorf(`"start%s" and "end%s" are %d and %d, the sentence has %d characters`, n, n, start, end, len(characters))
		}
		*sentence = string(characters[:start]) + "* " + string(characters[start:end]) + " *" + string(characters[end:])
	}
	e.Text = word + " : " + e.Text
	return []Example{e}, nil
}

// wscKeys are the keys for WSC's name and pronoun, inside "target" or, in Hugging Face's data
// set, at the top level.
var wscKeys = []string{"span1_text", "span1_index", "span2_text", "span2_index"}

// wsc reads a text with a name and a pronoun, which are marked with "*" and "#"
// as T5 does (Raffel et al., arXiv 1910.10683, appendix B).
func wsc(p *parser, r row, line int) ([]Example, error) {
	target, where := r, ""
	switch {
	case r.has("target"):
		var o object
		if err := nested(r, "target", &o); err != nil {
			return nil, err
		}
		target, where = o, `"target": `
	case !slices.ContainsFunc(wscKeys, r.has):
		return one(p, r, line)
	}
	var name, pronoun string
	var at1, at2 int
	err := texts(target, []string{"span1_text", "span2_text"}, &name, &pronoun)
	if err == nil {
		at1, err = number(target, "span1_index")
	}
	if err == nil {
		at2, err = number(target, "span2_index")
	}
	if err != nil {
		return nil, fmt.Errorf("%s%w", where, err)
	}
	e, err := p.example(r, line)
	if err != nil {
		return nil, err
	}
	spans := []struct {
		mark, span string
		at         int
	}{{"*", name, at1}, {"#", pronoun, at2}}
	if at1 < at2 { // the later one first, so that the other keeps its place
		slices.Reverse(spans)
	}
	for _, s := range spans {
		if e.Text, err = markWords(e.Text, s.span, s.at, s.mark); err != nil {
			return nil, fmt.Errorf("%s%w", where, err)
		}
	}
	return []Example{e}, nil
}

// markWords puts a mark before and after a span that begins with word number at of a text. If the
// span is not there, it marks the nearest place that has it. Punctuation after the span stays
// outside.
func markWords(s, span string, at int, mark string) (string, error) {
	words, n := tokenize.Words(nil, s), len(strings.Fields(span))
	if n == 0 || at < 0 || at+n > len(words) {
		return "", fmt.Errorf("%q is given at word %d, but the text has %d words", span, at, len(words))
	}
	bare := func(words string) string {
		return strings.Join(strings.FieldsFunc(strings.ToLower(words), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }), " ")
	}
	characters := []rune(s)
	place := func(i int) string { return string(characters[words[i][0]:words[i+n-1][1]]) }
	best := at
	if wanted := bare(span); bare(place(at)) != wanted {
		for i := 0; i+n <= len(words); i++ {
			if bare(place(i)) == wanted && (best == at || max(i-at, at-i) < max(best-at, at-best)) {
				best = i
			}
		}
	}
	before, marked, after := string(characters[:words[best][0]]), place(best), string(characters[words[best+n-1][1]:])
	if rest, ok := strings.CutPrefix(marked, span); ok {
		marked, after = span, rest+after
	}
	return before + mark + " " + marked + " " + mark + after, nil
}

// axg reads a pair of the diagnostic set for gender, whose two forms share a number. Hugging
// Face's data set has no such number, see pairs.
func axg(p *parser, r row, line int) ([]Example, error) {
	if !r.has("pair_id") {
		return alone(p, r, line)
	}
	e, err := p.example(r, line)
	if err == nil {
		e.Group, err = number(r, "pair_id")
	}
	return []Example{e}, err
}

// gendered matches the words by which the two forms of a pair in AX-g may differ.
var gendered = regexp.MustCompile(`(?i)\b(he|she|they|him|her|them|his|hers|their|theirs|himself|herself|themselves|themself)\b`)

// pairs numbers the pairs of AX-g if the records do not. Two consecutive records must differ at
// most by a pronoun. It returns false if some do not.
func pairs(examples []Example) bool {
	form := func(e Example) string { return gendered.ReplaceAllString(e.Text+"\x00"+e.Pair, "_") }
	for i := 0; i < len(examples); i += 2 {
		if i+1 == len(examples) || form(examples[i]) != form(examples[i+1]) {
			return false
		}
	}
	for i := range examples {
		examples[i].Group = i / 2
	}
	return true
}

// otherThan returns the name that an option gives to a column, or "" if that is the usual name.
func otherThan(named, usual string) string {
	if named == usual {
		return ""
	}
	return named
}

// Keys for words and for their labels in common data sets.
var (
	wordKeys = []string{"tokens", "words"}
	tagKeys  = []string{"labels", "tags", "ner_tags"}
)

// tokens reads words, each with a label.
func tokens(p *parser, r row, line int) ([]Example, error) {
	key := func(named string, usual []string) string {
		if named != "" {
			return named
		}
		for _, k := range usual {
			if r.has(k) {
				return k
			}
		}
		return usual[0]
	}
	e := Example{Label: -1}
	var tags []json.RawMessage
	tagKey := key(otherThan(p.o.LabelColumn, "label"), tagKeys)
	if s, ok := r.(*sentence); ok {
		e.Words, tags = s.words, s.tags
	} else {
		if err := nested(r, key(otherThan(p.o.TextColumn, "text"), wordKeys), &e.Words); err != nil {
			return nil, err
		}
		if r.has(tagKey) {
			if err := nested(r, tagKey, &tags); err != nil {
				return nil, err
			}
		}
	}
	for i, w := range e.Words {
		if strings.TrimSpace(w) == "" {
			return nil, fmt.Errorf("word %d is %q, expected more than white space", i+1, w)
		}
	}
	if len(e.Words) == 0 {
		return nil, fmt.Errorf("there are no words")
	}
	e.Text = strings.Join(e.Words, " ")
	if tags == nil || p.o.NoLabels {
		if p.o.RequireLabels {
			return nil, fmt.Errorf("the labels are missing: expected the column %q", tagKey)
		}
		return []Example{e}, nil
	}
	if len(tags) != len(e.Words) {
		return nil, fmt.Errorf("%q: %d labels for %d words", tagKey, len(tags), len(e.Words))
	}
	e.Label = 0
	for i, raw := range tags {
		label, err := p.label(object{"": raw}.cell(""), tagKey, line)
		if err != nil {
			return nil, fmt.Errorf("word %d: %w", i+1, err)
		}
		e.Labels = append(e.Labels, int32(label))
	}
	return []Example{e}, nil
}

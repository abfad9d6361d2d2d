package data

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
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

// one makes a single example of a record by the layouts.
func one(p *parser, r row, line int) ([]Example, error) {
	e, err := p.example(r, line)
	return []Example{e}, err
}

// Questions of COPA, in its own words.
var copaQuestions = map[string]string{
	"cause":  "What was the cause of this?",
	"effect": "What happened as a result?",
}

// copa reads a premise, two choices and whether they are causes or effects. The
// first text is the premise and the question in words.
func copa(p *parser, r row, line int) ([]Example, error) {
	e := Example{Choices: make([]string, 2)}
	var question string
	for column, to := range map[string]*string{"premise": &e.Text, "question": &question, "choice1": &e.Choices[0], "choice2": &e.Choices[1]} {
		if !r.has(column) {
			return nil, fmt.Errorf(`expected the columns "premise", "question", "choice1" and "choice2", found %s`, quoted(r.names()))
		}
		var err error
		if *to, err = text(r, column); err != nil {
			return nil, err
		}
	}
	words, ok := copaQuestions[question]
	if !ok {
		return nil, fmt.Errorf(`"question": expected "cause" or "effect", found %q`, question)
	}
	e.Text += " " + words
	var err error
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
	e.Label, err = p.choice(r.cell(l.label), l.label, len(e.Choices))
	return []Example{e}, err
}

// choice returns the number of the right one of n choices, -1 for none.
func (p *parser) choice(c cell, column string, n int) (int, error) {
	if c.kind == missing || c.kind == plain && c.text == "" {
		if p.o.RequireLabels {
			return -1, fmt.Errorf("the label is missing: expected the column %q", column)
		}
		return -1, nil
	}
	i, err := strconv.Atoi(c.text)
	if err == nil && i == -1 && !p.o.RequireLabels {
		return -1, nil
	}
	if err != nil || i < 0 || i >= n {
		return -1, fmt.Errorf("%q: label %s is not the number of a choice from 0 to %d", column, c.describe(), n-1)
	}
	return i, nil
}

// multirc reads a passage with its questions and their answers, each of which is
// an example: the passage, and the question followed by the answer.
func multirc(p *parser, r row, line int) ([]Example, error) {
	if !r.has("passage") {
		return one(p, r, line)
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
			examples = append(examples, Example{Text: *passage.Text, Pair: q.Question + " " + words, HasPair: true, Label: label, Group: p.groups})
		}
		p.groups++
	}
	return examples, nil
}

var (
	highlightAfterStop = regexp.MustCompile(`([.?!"'])\n@highlight\n`)
	highlight          = regexp.MustCompile(`\n@highlight\n`)
)

// record reads a passage with its queries. Each entity of the passage makes an
// example of each query: the passage, and the query with the entity in the place
// of "@placeholder".
func record(p *parser, r row, line int) ([]Example, error) {
	if !r.has("passage") {
		return one(p, r, line)
	}
	var passage struct {
		Text     string
		Entities []struct{ Start, End int } // of characters, End the last
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
		if name := string(characters[e.Start : e.End+1]); !slices.Contains(entities, name) {
			entities = append(entities, name)
		}
	}
	// The bullet points of a story become sentences.
	story := highlight.ReplaceAllString(highlightAfterStop.ReplaceAllString(passage.Text, "$1 "), ". ")
	var examples []Example
	for i, q := range queries {
		if p.o.RequireLabels && len(q.Answers) == 0 {
			return nil, fmt.Errorf("query %d has no answers", i+1)
		}
		for _, entity := range entities {
			e := Example{Text: story, Pair: strings.ReplaceAll(q.Query, "@placeholder", entity), HasPair: true, Label: -1, Group: p.groups}
			for _, a := range q.Answers {
				e.Label = max(e.Label, 0)
				if given, want := answerWords(entity), answerWords(a.Text); slices.Equal(given, want) {
					e.Label, e.Value = 1, 1
				} else {
					e.Value = max(e.Value, overlap(given, want))
				}
			}
			examples = append(examples, e)
		}
		p.groups++
	}
	return examples, nil
}

// answerWords are the words of an answer as SQuAD and ReCoRD compare them: in
// lower case, without ASCII punctuation and articles.
func answerWords(s string) []string {
	s = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, strings.ToLower(s))
	return slices.DeleteFunc(strings.Fields(s), func(w string) bool { return w == "a" || w == "an" || w == "the" })
}

// overlap is the F1 of the words of an answer against those wanted.
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

// wic reads two sentences that share a word, which is marked with "*" in both
// where the record says where it stands, and set before the first.
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
		var start, end int
		if err := nested(r, "start"+n, &start); err != nil {
			return nil, err
		}
		if err := nested(r, "end"+n, &end); err != nil {
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

// wsc reads a text with a name and a pronoun, which are marked with "*" and "#"
// as T5 does (Raffel et al., arXiv 1910.10683, appendix B).
func wsc(p *parser, r row, line int) ([]Example, error) {
	if !r.has("target") {
		return one(p, r, line)
	}
	var target struct {
		Name    *string `json:"span1_text"`
		Pronoun *string `json:"span2_text"`
		At1     int     `json:"span1_index"`
		At2     int     `json:"span2_index"`
	}
	if err := nested(r, "target", &target); err != nil {
		return nil, err
	}
	if target.Name == nil || target.Pronoun == nil {
		return nil, fmt.Errorf(`"target": expected the keys "span1_text", "span1_index", "span2_text" and "span2_index"`)
	}
	e, err := p.example(r, line)
	if err != nil {
		return nil, err
	}
	spans := []struct {
		mark, span string
		at         int
	}{{"*", *target.Name, target.At1}, {"#", *target.Pronoun, target.At2}}
	if target.At1 < target.At2 { // the later first, so that the other keeps its place
		slices.Reverse(spans)
	}
	for _, s := range spans {
		if e.Text, err = markWords(e.Text, s.span, s.at, s.mark); err != nil {
			return nil, fmt.Errorf(`"target": %w`, err)
		}
	}
	return []Example{e}, nil
}

// markWords sets a mark before and after a span that begins with word number at
// of a text. Punctuation that follows the span stays outside.
func markWords(s, span string, at int, mark string) (string, error) {
	n := len(strings.Fields(span))
	start, end, word := -1, -1, -1
	inside := false
	for i, r := range s + " " {
		space := unicode.IsSpace(r)
		if !space && !inside {
			if word++; word == at {
				start = i
			}
		}
		if space && inside && word == at+n-1 {
			end = i
			break
		}
		inside = !space
	}
	if n == 0 || start < 0 || end < 0 {
		return "", fmt.Errorf("%q is said to be at word %d of a text of %d", span, at, word+1)
	}
	if strings.HasPrefix(s[start:], span) {
		end = start + len(span)
	}
	return s[:start] + mark + " " + s[start:end] + " " + mark + s[end:], nil
}

// axg reads a pair of the diagnostic set of gender, numbered by its two forms.
func axg(p *parser, r row, line int) ([]Example, error) {
	e, err := p.example(r, line)
	if err == nil && r.has("pair_id") {
		err = nested(r, "pair_id", &e.Group)
	}
	return []Example{e}, err
}

// otherThan returns the name that an option gives to a column, "" for none: the
// usual name is what stands there by default.
func otherThan(named, usual string) string {
	if named == usual {
		return ""
	}
	return named
}

// Keys of words and of their labels, as data sets name them.
var (
	wordKeys = []string{"tokens", "words"}
	tagKeys  = []string{"labels", "tags", "ner_tags"}
)

// tokens reads words with a label each.
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
	if tags == nil {
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

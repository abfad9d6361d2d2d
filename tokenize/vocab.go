package tokenize

import (
	"cmp"
	"iter"
	"slices"
	"unicode/utf8"
)

// BuildVocab returns a WordPiece vocabulary for uncased text. It has at most size tokens, but
// always enough to spell every word of the texts. In the order of ids it holds
//
//   - [PAD], [UNK], [CLS], [SEP] and [MASK],
//   - each character that begins a word, and with ## each that is inside a word,
//     so that nothing in the texts is unknown,
//   - the most frequent whole words, equally frequent ones in alphabetical order.
//
// It does not train subwords: words that do not fit are split into characters, which is enough
// for a task with few words.
func BuildVocab(texts iter.Seq[string], size int) []string {
	splitter := &wordPiece{cleanText: true, chineseChars: true, stripAccents: true, lowercase: true, prefix: "##", maxChars: 100}
	counts := map[string]int{}
	splitter.onWord = func(word []byte, runes int) {
		if runes <= splitter.maxChars {
			counts[string(word)]++
		}
	}
	splitter.prepare()
	var w wordBuffer
	var p pieces
	for text := range texts {
		splitter.tokenize(&p, &w, text, 0)
	}
	return pickVocab(counts, size)
}

func pickVocab(counts map[string]int, size int) []string {
	vocab := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	chars := map[string]bool{}
	for word := range counts {
		for i, r := range word {
			if i == 0 {
				chars[string(r)] = true
			} else {
				chars["##"+string(r)] = true
			}
		}
	}
	type count struct {
		word string
		n    int
	}
	var words []count
	for word, n := range counts {
		if utf8.RuneCountInString(word) > 1 {
			words = append(words, count{word, n})
		}
	}
	alphabet := make([]string, 0, len(chars))
	for c := range chars {
		alphabet = append(alphabet, c)
	}
	slices.Sort(alphabet)
	vocab = append(vocab, alphabet...)
	slices.SortFunc(words, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.word, b.word))
	})
	for _, w := range words[:max(0, min(len(words), size-len(vocab)))] {
		vocab = append(vocab, w.word)
	}
	return vocab
}

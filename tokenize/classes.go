package tokenize

import (
	"cmp"
	"fmt"
	"slices"
)

// backend says how a tokenizer class of transformers reads a directory.
type backend uint8

const (
	// libraryBackend takes tokenizer.json as it is.
	libraryBackend backend = iota + 1
	// bertBackend takes the vocabulary of tokenizer.json or vocab.txt. Everything else follows
	// from tokenizer_config.json.
	bertBackend
	// robertaBackend does the same with vocab.json and merges.txt.
	robertaBackend
	// unigramBackend does the same with a SentencePiece model, see unigramClass.
	unigramBackend
	// gemmaBackend takes vocabulary and merges of tokenizer.json, and builds the rest.
	gemmaBackend
)

// tokenizerClass is a class of transformers 5. Most of the names in earlier versions stand for
// one of these classes now.
type tokenizerClass struct {
	backend backend
	typeIDs bool // whether there are type ids if model_input_names does not say
	// defaults are the special tokens that no file needs to name.
	defaults map[string]string
	// robertaPairs puts two separators between the texts of a pair. robertaBackend always does
	// so; bertBackend then trims the offsets, too.
	robertaPairs bool
	// stripMask makes the mask token take the white space before it, unless the files give it
	// settings of its own.
	stripMask bool
	unigram   *unigramClass // for unigramBackend
}

var (
	bertTokens    = map[string]string{unkToken: "[UNK]", sepToken: "[SEP]", padToken: "[PAD]", clsToken: "[CLS]", maskToken: "[MASK]"}
	robertaTokens = map[string]string{
		"bos_token": "<s>", "eos_token": "</s>", unkToken: "<unk>", sepToken: "</s>", padToken: "<pad>", clsToken: "<s>", maskToken: "<mask>",
	}
	mpnetTokens = map[string]string{
		"bos_token": "<s>", "eos_token": "</s>", unkToken: "[UNK]", sepToken: "</s>", padToken: "<pad>", clsToken: "<s>", maskToken: "<mask>",
	}
	bertClass       = tokenizerClass{backend: bertBackend, typeIDs: true, defaults: bertTokens}
	distilBertClass = tokenizerClass{backend: bertBackend, defaults: bertTokens}
	mpnetClass      = tokenizerClass{backend: bertBackend, defaults: mpnetTokens, robertaPairs: true, stripMask: true}
	robertaClass    = tokenizerClass{backend: robertaBackend, defaults: robertaTokens}
	albertTokens    = map[string]string{
		"bos_token": "[CLS]", "eos_token": "[SEP]", unkToken: "<unk>", sepToken: "[SEP]", padToken: "<pad>", clsToken: "[CLS]", maskToken: "[MASK]",
	}
	debertaTokens = map[string]string{
		"bos_token": "[CLS]", "eos_token": "[SEP]", unkToken: "[UNK]", sepToken: "[SEP]", padToken: "[PAD]", clsToken: "[CLS]", maskToken: "[MASK]",
	}
	xlmRobertaClass = tokenizerClass{backend: unigramBackend, defaults: robertaTokens, unigram: &xlmRoberta, robertaPairs: true}
	camembertClass  = tokenizerClass{backend: unigramBackend, defaults: robertaTokens, unigram: &camembert, robertaPairs: true, stripMask: true}
	albertClass     = tokenizerClass{backend: unigramBackend, defaults: albertTokens, unigram: &albert}
	debertaV2Class  = tokenizerClass{backend: unigramBackend, defaults: debertaTokens, unigram: &debertaV2, typeIDs: true}
	gemmaTokens     = map[string]string{"bos_token": "<bos>", "eos_token": "<eos>", unkToken: "<unk>", padToken: "<pad>", maskToken: "<mask>"}
	gemmaClass      = tokenizerClass{backend: gemmaBackend, defaults: gemmaTokens}
	libraryClass    = tokenizerClass{backend: libraryBackend}
)

// tokenizerClasses holds the classes by name, without the "Fast" at the end of some names.
var tokenizerClasses = map[string]tokenizerClass{
	"BertTokenizer": bertClass, "ElectraTokenizer": bertClass, "MobileBertTokenizer": bertClass, "SqueezeBertTokenizer": bertClass,
	"LxmertTokenizer": bertClass, "LayoutLMTokenizer": bertClass, "DistilBertTokenizer": distilBertClass,
	"MPNetTokenizer":   mpnetClass,
	"RobertaTokenizer": robertaClass, "BartTokenizer": robertaClass, "LongformerTokenizer": robertaClass, "LEDTokenizer": robertaClass,
	"XLMRobertaTokenizer": xlmRobertaClass, "CamembertTokenizer": camembertClass, "AlbertTokenizer": albertClass, "DebertaV2Tokenizer": debertaV2Class,
	"GemmaTokenizer":      gemmaClass,
	"PreTrainedTokenizer": libraryClass, "TokenizersBackend": libraryClass,
}

// unigramClass says what a class of transformers makes of a SentencePiece vocabulary, whatever
// pipeline tokenizer.json has.
type unigramClass struct {
	file string // the file of the SentencePiece model
	// front and back name the special tokens before and after a text, by their keys.
	front, back string
	// pieces inserts the class's own tokens into those of the SentencePiece model.
	pieces func(s *settings, pieces []scoredToken) []scoredToken
	// unk returns the id of the unknown token. given is the id in the SentencePiece model, or 1.
	unk func(s *settings, vocab []scoredToken, given int) int
	// normalizers returns the normalizers before the table of the SentencePiece model.
	normalizers func(s *settings) ([]normalizer, error)
	// noCharsMap ignores the table.
	noCharsMap bool
	// wholeText says that white space does not end words.
	wholeText bool
	// noPrefix is the scheme for add_prefix_space false.
	noPrefix prependScheme
	// ownFrame reads the special tokens around the texts from tokenizer.json, if there is one.
	ownFrame bool
	extra    []string // special tokens if no file names additional ones
}

func fixedUnk(id int) func(*settings, []scoredToken, int) int {
	return func(*settings, []scoredToken, int) int { return id }
}

// The classes, as in tokenization_NAME.py of transformers 5.
var (
	xlmRoberta = unigramClass{
		file: "sentencepiece.bpe.model", front: "bos_token", back: "eos_token", noPrefix: prependNever, unk: fixedUnk(3),
		pieces: func(s *settings, pieces []scoredToken) []scoredToken {
			list := make([]scoredToken, 0, len(pieces)+2)
			for _, name := range []string{"bos_token", padToken, "eos_token", unkToken} {
				list = append(list, scoredToken{text: s.special(name)})
			}
			return append(append(list, pieces[min(3, len(pieces)):]...), scoredToken{text: s.special(maskToken)})
		},
	}
	camembert = unigramClass{
		file: "sentencepiece.bpe.model", front: "bos_token", back: "eos_token", noPrefix: prependNever,
		extra: []string{"<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"},
		unk: func(s *settings, vocab []scoredToken, _ int) int {
			return max(0, slices.IndexFunc(vocab, func(t scoredToken) bool { return t.text == s.special(unkToken) }))
		},
		pieces: func(s *settings, pieces []scoredToken) []scoredToken {
			list := []scoredToken{{text: "<s>NOTUSED"}, {text: s.special(padToken)}, {text: "</s>NOTUSED"}, {text: s.special(unkToken)}, {"<unk>NOTUSED", -100}}
			return append(append(list, pieces[1:]...), scoredToken{text: s.special(maskToken)})
		},
	}
	albert = unigramClass{
		file: "spiece.model", front: clsToken, back: sepToken, noPrefix: prependNever, unk: fixedUnk(1), ownFrame: true,
		normalizers: func(s *settings) ([]normalizer, error) {
			list := []normalizer{replacePattern{literal("``"), `"`}, replacePattern{literal("''"), `"`}}
			keep, err := s.flag("keep_accents", false)
			if err != nil {
				return nil, err
			}
			if !keep {
				list = append(list, nfkd, stripMarks{})
			}
			lower, err := s.flag("do_lower_case", true)
			if lower {
				list = append(list, lowercase{})
			}
			return list, err
		},
	}
	debertaV2 = unigramClass{
		file: "spm.model", front: clsToken, back: sepToken, noPrefix: prependFirst, noCharsMap: true, wholeText: true,
		unk: func(s *settings, vocab []scoredToken, given int) int {
			if i := slices.Index(vocab, scoredToken{text: s.special(unkToken)}); i >= 0 {
				return i
			}
			return given
		},
		normalizers: func(s *settings) ([]normalizer, error) {
			var list []normalizer
			lower, err := s.flag("do_lower_case", false)
			if lower {
				list = append(list, lowercase{})
			}
			if split, e := s.flag("split_by_punct", false); split || e != nil {
				return nil, cmp.Or(e, fmt.Errorf("%s: split_by_punct: true is not supported, expected false", configFile))
			}
			return append(list, replacePattern{anyBlanks, " "}, nfc, strip{right: true}), err
		},
	}
)

package tokenize

import (
	"cmp"
	"fmt"
	"slices"
)

// backend is how a tokenizer class of transformers reads a directory.
type backend uint8

const (
	// libraryBackend takes tokenizer.json as it is.
	libraryBackend backend = iota + 1
	// bertBackend takes the vocabulary of tokenizer.json or of vocab.txt, and
	// builds the rest from tokenizer_config.json.
	bertBackend
	// robertaBackend does likewise with vocab.json and merges.txt.
	robertaBackend
	// unigramBackend does likewise with a SentencePiece model, see unigramClass.
	unigramBackend
)

// tokenizerClass is a class of transformers 5. Most names that it had before are
// one class now.
type tokenizerClass struct {
	backend backend
	typeIDs bool // whether it gives type ids, where model_input_names does not say
	// defaults are the special tokens that no file has to name.
	defaults map[string]string
	// robertaPairs tells that there are two separators between the texts of a pair, as
	// robertaBackend has them, whose offsets bertBackend trims then, too.
	robertaPairs bool
	// stripMask tells that the mask token takes the white space before it, unless it
	// is written out with settings of its own.
	stripMask bool
	unigram   *unigramClass // of unigramBackend
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
	libraryClass    = tokenizerClass{backend: libraryBackend}
)

// tokenizerClasses are the classes by name, without the "Fast" that a name may
// end in.
var tokenizerClasses = map[string]tokenizerClass{
	"BertTokenizer": bertClass, "ElectraTokenizer": bertClass, "MobileBertTokenizer": bertClass, "SqueezeBertTokenizer": bertClass,
	"LxmertTokenizer": bertClass, "LayoutLMTokenizer": bertClass, "DistilBertTokenizer": distilBertClass,
	"MPNetTokenizer":   mpnetClass,
	"RobertaTokenizer": robertaClass, "BartTokenizer": robertaClass, "LongformerTokenizer": robertaClass, "LEDTokenizer": robertaClass,
	"XLMRobertaTokenizer": xlmRobertaClass, "CamembertTokenizer": camembertClass, "AlbertTokenizer": albertClass, "DebertaV2Tokenizer": debertaV2Class,
	"PreTrainedTokenizer": libraryClass, "TokenizersBackend": libraryClass,
}

// unigramClass is what a class of transformers makes of a vocabulary of
// SentencePiece, whatever pipeline tokenizer.json has.
type unigramClass struct {
	file string // the SentencePiece model
	// front and back stand before and after a text: keys of special tokens.
	front, back string
	// pieces puts the class's own tokens among those of the SentencePiece model.
	pieces func(s *settings, pieces []scoredToken) []scoredToken
	// unk is the id of the unknown token; given is what the SentencePiece model
	// says, or 1.
	unk func(s *settings, vocab []scoredToken, given int) int
	// normalizers are those before the table of the SentencePiece model.
	normalizers func(s *settings) ([]normalizer, error)
	// noCharsMap tells that the table is left aside.
	noCharsMap bool
	// wholeText tells that white space does not end words.
	wholeText bool
	// noPrefix is what add_prefix_space false stands for.
	noPrefix prependScheme
	// ownFrame tells that what stands round the texts is read from tokenizer.json, if
	// there is one.
	ownFrame bool
	extra    []string // special tokens, where no file names additional ones
}

func fixedUnk(id int) func(*settings, []scoredToken, int) int {
	return func(*settings, []scoredToken, int) int { return id }
}

// The classes, each as tokenization_NAME.py of transformers 5 has it.
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

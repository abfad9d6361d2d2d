package tokenize_test

import (
	"fmt"
	"log"

	"github.com/skive-ml/skive/tokenize"
)

// A pair of texts becomes token ids.
func ExampleTokenizer_EncodePair() {
	vocabulary := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "staff", "was", "rude", "##r", "?"}
	tokenizer, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		log.Fatal(err)
	}
	var e tokenize.Encoding
	if err := tokenizer.EncodePair(&e, "Ruder?", "The staff was", tokenize.Options{}); err != nil {
		log.Fatal(err)
	}
	for i, id := range e.IDs {
		fmt.Println(id, e.TypeIDs[i], tokenizer.Token(id))
	}
	// Output:
	// 2 0 [CLS]
	// 8 0 rude
	// 9 0 ##r
	// 10 0 ?
	// 3 0 [SEP]
	// 5 1 the
	// 6 1 staff
	// 7 1 was
	// 3 1 [SEP]
}

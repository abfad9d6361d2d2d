package tokenize

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// sentencePiece is the part of a SentencePiece model file (ModelProto) that transformers reads.
type sentencePiece struct {
	pieces   []scoredToken
	added    []tokenSetting // control pieces, which are special, and user-defined ones
	unkID    int
	charsMap []byte
}

// The types of pieces that are added tokens.
const (
	controlPiece = 3
	userPiece    = 4
)

// unigramType is the model_type of a unigram language model.
const unigramType = 1

var errSentencePiece = errors.New("not a SentencePiece model, or damaged")

// readSentencePiece reads a .model file.
func readSentencePiece(file []byte) (*sentencePiece, error) {
	s := &sentencePiece{}
	kind := uint64(unigramType)
	ok := eachField(file, func(number protowire.Number, v fieldValue) bool {
		switch number {
		case 1:
			return s.readPiece(v.bytes)
		case 2:
			return eachField(v.bytes, func(number protowire.Number, v fieldValue) bool {
				switch number {
				case 3:
					kind = v.number
				case 40:
					s.unkID = int(int32(v.number))
				}
				return true
			})
		case 3:
			return eachField(v.bytes, func(number protowire.Number, v fieldValue) bool {
				if number == 2 {
					s.charsMap = v.bytes
				}
				return true
			})
		}
		return true
	})
	switch {
	case !ok || len(s.pieces) == 0:
		return nil, errSentencePiece
	case kind != unigramType:
		return nil, fmt.Errorf("trainer_spec.model_type is %d, expected %d, a unigram language model", kind, unigramType)
	}
	return s, nil
}

func (s *sentencePiece) readPiece(b []byte) bool {
	t, kind := scoredToken{}, uint64(1)
	ok := eachField(b, func(number protowire.Number, v fieldValue) bool {
		switch number {
		case 1:
			t.text = string(v.bytes)
		case 2:
			t.score = float64(math.Float32frombits(uint32(v.number)))
		case 3:
			kind = v.number
		}
		return true
	})
	s.pieces = append(s.pieces, t)
	if kind == controlPiece || kind == userPiece {
		s.added = append(s.added, tokenSetting{addedToken: addedToken{text: t.text, special: kind == controlPiece}})
	}
	return ok && utf8.ValidString(t.text)
}

// fieldValue is the value of a field: bytes, or a number of any size.
type fieldValue struct {
	bytes  []byte
	number uint64
}

// eachField visits the fields of a protocol buffers message. It returns false if the message is
// damaged or visit returns false.
func eachField(b []byte, visit func(protowire.Number, fieldValue) bool) bool {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var v fieldValue
		switch typ {
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(b)
			v.number = uint64(bits)
		default:
			n = protowire.ConsumeFieldValue(number, typ, b)
		}
		if n < 0 || !visit(number, v) {
			return false
		}
		b = b[n:]
	}
	return true
}

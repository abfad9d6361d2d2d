package tokenize

import "unicode"

// lower returns the lower case of a character as of Unicode 16, which Hugging Face's tokenizers
// use. Go's tables may be older.
func lower(r rune) rune {
	switch {
	case r < 0x1c89:
		return unicode.ToLower(r)
	case r == 0x1c89, r == 0xa7cc, r == 0xa7ce, r == 0xa7d2, r == 0xa7d4, r == 0xa7da:
		return r + 1
	case r == 0xa7cb:
		return 0x264
	case r == 0xa7dc:
		return 0x19b
	case 0x10d50 <= r && r <= 0x10d65:
		return r + 0x20
	case 0x16ea0 <= r && r <= 0x16eb8:
		return r + 0x1b
	}
	return unicode.ToLower(r)
}

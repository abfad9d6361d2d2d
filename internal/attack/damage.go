//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf16"
)

// damages are ways to change the bytes of a file.
var damages = []struct {
	name string
	do   func(r *round, b []byte) []byte
}{
	{"a bit flipped", func(r *round, b []byte) []byte { return flip(r, b, 1) }},
	{"bits flipped", func(r *round, b []byte) []byte { return flip(r, b, 1+len(b)/100) }},
	{"cut short", func(r *round, b []byte) []byte { return b[:r.IntN(len(b)+1)] }},
	{"empty", func(*round, []byte) []byte { return nil }},
	{"zeros at its end", func(_ *round, b []byte) []byte { return append(b, make([]byte, 4096)...) }},
	{"all zeros", func(_ *round, b []byte) []byte { return make([]byte, len(b)) }},
	{"twice", func(_ *round, b []byte) []byte { return append(b, b...) }},
	{"a part moved", func(r *round, b []byte) []byte {
		at := r.IntN(len(b) + 1)
		return append(b[at:len(b):len(b)], b[:at]...)
	}},
	{"compressed", func(_ *round, b []byte) []byte { return compressed(b) }},
	{"compressed and cut", func(r *round, b []byte) []byte { c := compressed(b); return c[:r.IntN(len(c))] }},
	{"compressed zeros", func(*round, []byte) []byte { return compressed(make([]byte, 64<<20)) }},
	{"in UTF-16", func(_ *round, b []byte) []byte {
		var out []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + string(b))) {
			out = binary.LittleEndian.AppendUint16(out, u)
		}
		return out
	}},
	{"with a byte-order mark", func(_ *round, b []byte) []byte { return append([]byte("\ufeff"), b...) }},
	{"with CRLF", func(_ *round, b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }},
	{"a long line", func(r *round, b []byte) []byte {
		return append(bytes.Repeat([]byte(r.one("x", "good ", "[", `{"a":`, "\x00")), 1<<r.IntN(20)), b...)
	}},
	{"numbers below it", func(r *round, b []byte) []byte { return floats(r, b) }},
	{"a value replaced", func(r *round, b []byte) []byte { return replaceOne(r, b, jsonValue) }},
	{"a number replaced", func(r *round, b []byte) []byte { return replaceOne(r, b, number) }},
	{"a line lost", func(r *round, b []byte) []byte {
		lines := bytes.SplitAfter(b, []byte("\n"))
		at := r.IntN(len(lines))
		return bytes.Join(append(lines[:at:at], lines[at+1:]...), nil)
	}},
}

var (
	jsonValue = regexp.MustCompile(`:\s*("[^"]*"|[-+.\deE]+|true|false|null)`)
	number    = regexp.MustCompile(`-?\d[\d.eE]*`)
)

// oddValues replace JSON values and values of flags.
var oddValues = []string{
	"0", "-1", "1", "7", "NaN", "Inf", "-Inf", "1e308", "1e-320", "0.5", "1e9", "65536", "2147483648", "9223372036854775807", "-9223372036854775808",
	"18446744073709551616", "0x10", "1_000", "true", "null", "[]", "{}", `""`, `"x"`, "'", "€", "\t", "a b", "a,b", ",", ":", "1,2,3", "../..", ".", "%d", "--",
}

func flip(r *round, b []byte, n int) []byte {
	for range min(n, len(b)) {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	return b
}

// floats replaces numbers in the second half of a file, where the weights are, by what a failed
// computation may have left.
func floats(r *round, b []byte) []byte {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 3.4e38, -3.4e38, 1e30, 1e-42}
	for range 1 + r.IntN(4) {
		if words := len(b) / 4; words > 0 {
			at := 4 * (words/2 + r.IntN(words-words/2))
			binary.LittleEndian.PutUint32(b[at:], math.Float32bits(float32(odd[r.IntN(len(odd))])))
		}
	}
	return b
}

// replaceOne replaces one match of the pattern by an odd value.
func replaceOne(r *round, b []byte, pattern *regexp.Regexp) []byte {
	found := pattern.FindAllIndex(b, -1)
	if len(found) == 0 {
		return flip(r, b, 1)
	}
	at, value := found[r.IntN(len(found))], r.one(oddValues...)
	if b[at[0]] == ':' {
		value = ": " + value
	}
	return append(append(b[:at[0]:at[0]], value...), b[at[1]:]...)
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b) // a buffer takes everything
	w.Close()
	return out.Bytes()
}

// anyFile picks one of the input files and returns its path in the round's directory.
func (r *round) anyFile() string {
	if len(r.inputs) == 0 {
		return ""
	}
	var files []string
	filepath.WalkDir(r.path(r.one(r.inputs...)), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, strings.TrimPrefix(path, r.dir+"/"))
		}
		return nil
	})
	if len(files) == 0 {
		return ""
	}
	return r.one(files...)
}

// damageInput damages a file that the command reads.
func damageInput(r *round) (string, error) {
	d := damages[r.IntN(len(damages))]
	if r.stdin != nil && r.chance(2) {
		r.stdin = d.do(r, r.stdin)
		r.setting.stdin = bytes.NewReader(r.stdin)
		return d.name + ": standard input", nil
	}
	file := r.anyFile()
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(r.path(file))
	if err != nil {
		return "", err
	}
	r.changes(file)
	return d.name + ": " + file, os.WriteFile(r.path(file), d.do(r, b), 0o644)
}

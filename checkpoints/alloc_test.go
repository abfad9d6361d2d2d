package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// TestHostileMemory feeds the parsers what makes them build the most for a
// byte. All that they ever allocate, live or not, stays in proportion.
func TestHostileMemory(t *testing.T) {
	const size = 1 << 20
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	torch := func(b []byte) error { _, err := parsePyTorch(b); return err }
	tensors := func(b []byte) error { _, err := parseSafetensors(b); return err }
	config := func(b []byte) error { _, err := parseConfig(b); return err }
	index := func(b []byte) error { _, _, err := parseIndex(b); return err }
	unpack := func(b []byte) error { var v any; return decodeMsgpack(b, &v) }
	sections := func(b []byte) error { var v containerHeader; return decodeMsgpack(b, &v) }
	array := func(n int) []byte { return binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(n)) }
	for name, c := range map[string]struct {
		parse func([]byte) error
		b     []byte
	}{
		"pickle of nothing":      {torch, []byte(fill("N") + ".")},
		"pickle of dictionaries": {torch, []byte(fill("}") + ".")},
		"pickle of lists":        {torch, []byte(fill("]") + ".")},
		"pickle of marks":        {torch, []byte(fill("(") + ".")},
		"pickle of tuples":       {torch, []byte(fill(")") + ".")},
		"pickle of ordered":      {torch, []byte("ccollections\nOrderedDict\nq\x00" + fill("h\x00)R") + ".")},
		"pickle of names":        {torch, []byte(fill("ctorch\nByteStorage\n") + ".")},
		"pickle of integers":     {torch, []byte(fill("\x8a\x01\x01") + ".")},
		"pickle of memos":        {torch, []byte("N" + fill("\x94") + ".")},
		"pickle of floats":       {torch, []byte(fill("G\x3f\xf0\x00\x00\x00\x00\x00\x01") + ".")},
		"pickle of strings":      {torch, []byte(fill("U\x01a") + ".")},
		"pickle at the limit":    {torch, []byte(fill("}K\x00K\x00N") + ".")},
		"pickle in a zip":        {torch, torchZip(t, fill("}")+".", zip.Store, map[string][]byte{})},
		"zip of names":           {torch, manyRecords(t, size/100)},
		"safetensors of objects": {tensors, header("{"+fill(`"a":{},`)+`"a":{}}`, 0)},
		"safetensors of shapes":  {tensors, header(`{"a":{"shape":[`+fill("1,")+`1],"dtype":"U8","data_offsets":[0,1]}}`, 1)},
		"safetensors of numbers": {tensors, header(`{"a":{"shape":[`+fill("111,")+`1],"dtype":"U8","data_offsets":[0,1]}}`, 1)},
		"safetensors of lists":   {tensors, header(`{"a":{"b":[`+fill("[],")+`[]]}}`, 0)},
		"config of lists":        {config, []byte(goodConfig + `,"quantization_config":[` + fill("[],") + `[]]}`)},
		"config of layers":       {config, []byte(goodConfig + `,"skive_attention_heads":[` + fill("1,") + `1]}`)},
		"config of labels":       {config, []byte(goodConfig + `,"id2label":{` + fill(`"1":"",`) + `"0":""}}`)},
		"index of names":         {index, []byte(`{"weight_map":{` + fill(`"a":"b",`) + `"c":"d"}}`)},
		"msgpack of arrays":      {unpack, append(array(size), bytes.Repeat([]byte{0x90}, size)...)},
		"msgpack of maps":        {unpack, append(array(size), bytes.Repeat([]byte{0x80}, size)...)},
		"msgpack of sections": {sections, append(append([]byte("\x82\xa8sections"), array(size)...),
			append(bytes.Repeat([]byte{0x93, 0xa0, 0xa0, 0x90}, size), "\xa4meta\xc0"...)...)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.parse(c.b)
		runtime.ReadMemStats(&after)
		spent := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-24s %5.1f × %d bytes", name, float64(spent)/float64(len(c.b)), len(c.b))
		if spent > 100*uint64(len(c.b)) {
			t.Errorf("%s: %d bytes allocated for %d", name, spent, len(c.b))
		}
	}
}

func manyRecords(t *testing.T, n int) []byte {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for range n {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	return buf.Bytes()
}

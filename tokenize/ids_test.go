package tokenize

import (
	"encoding/json"
	"testing"
)

// FuzzTokenIDs compares the fast way to read a vocabulary with encoding/json.
func FuzzTokenIDs(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"a":0}`, ` { "a" : 1 , "##b":22,"é":3 } `, `{"\"":1,"\\":2,"\u00e9\\\"":3}`, `{"a":-1}`, `{"a":1.5}`, `{"a":1e3}`,
		`{"a":12345678901}`, `{"a":1,"a":2}`, `{"a":"b"}`, `{"a":{"b":1}}`, `{"a":null}`, "{\"\xff\":1}", `{"a":007}`, `{"":4}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got struct{ V tokenIDs }
		var want struct{ V map[string]int32 }
		text := append(append([]byte(`{"V":`), b...), '}')
		err, wantErr := json.Unmarshal(text, &got), json.Unmarshal(text, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/json says %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		for token, id := range want.V {
			if v, ok := got.V.find(token); !ok || v != id {
				t.Fatalf("%q: %q is %d, encoding/json says %d", b, token, v, id)
			}
		}
		if len(got.V.list) != len(want.V) {
			t.Fatalf("%q: %v, encoding/json says %v", b, got.V.list, want.V)
		}
	})
}

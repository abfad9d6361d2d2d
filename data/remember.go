package data

import "sync"

// Remember makes the data set keep what Encoded makes of it, for as long as it lives.
// Neither its task nor its examples are to be changed from then on.
func (ds *Dataset) Remember() {
	if ds.encoded == nil {
		ds.encoded = &encodings{all: map[any]*Encoded{}, parts: map[int]*Dataset{}}
	}
}

// Encoded returns what encode makes of the data set, or made of it before under this
// key if the data set remembers it. It is shared, and not to be changed.
func (ds *Dataset) Encoded(key any, encode func() (*Encoded, error)) (*Encoded, error) {
	switch {
	case ds.tokens != nil:
		return ds.tokens, nil
	case ds.encoded == nil:
		return encode()
	}
	return ds.encoded.get(key, encode)
}

// First returns the data set of the first n examples, which is the data set itself where
// it has no more. It remembers what it is encoded to if the data set does, and is
// then the same for the same n.
func (ds *Dataset) First(n int) *Dataset {
	if n >= len(ds.Examples) {
		return ds
	}
	part := &Dataset{Task: ds.Task, Examples: ds.Examples[:n], Numbered: ds.Numbered}
	if ds.encoded == nil {
		return part
	}
	ds.encoded.mu.Lock()
	defer ds.encoded.mu.Unlock()
	if ds.encoded.parts[n] == nil {
		part.Remember()
		ds.encoded.parts[n] = part
	}
	return ds.encoded.parts[n]
}

// encodings are those of a data set by their keys, and its parts by their lengths.
type encodings struct {
	mu    sync.Mutex
	all   map[any]*Encoded
	parts map[int]*Dataset
}

func (e *encodings) get(key any, encode func() (*Encoded, error)) (*Encoded, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if enc := e.all[key]; enc != nil {
		return enc, nil
	}
	enc, err := encode()
	if err == nil {
		e.all[key] = enc
	}
	return enc, err
}

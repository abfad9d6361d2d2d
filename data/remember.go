package data

import "sync"

// Remember makes the data set keep the results of Encoded for as long as it lives. From then on
// its task and its examples must not change.
func (ds *Dataset) Remember() {
	if ds.encoded == nil {
		ds.encoded = &encodings{all: map[any]*Encoded{}, parts: map[int]*Dataset{}}
	}
}

// Encoded returns the result of encode for the data set. If the data set remembers, it returns an
// earlier result for the same key. The result is shared and must not be changed.
func (ds *Dataset) Encoded(key any, encode func() (*Encoded, error)) (*Encoded, error) {
	switch {
	case ds.tokens != nil:
		return ds.tokens, nil
	case ds.encoded == nil:
		return encode()
	}
	return ds.encoded.get(key, encode)
}

// First returns the data set of the first n examples, or the data set itself if it has no more.
// If the data set remembers, so does the result, and the same n returns the same result.
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

// encodings holds what a data set remembers: its encodings by key, and its parts by length.
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

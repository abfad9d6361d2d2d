// Package mapped reads model files that stay mapped into memory. Such a file can
// change under its reader: what was cut off faults when it is touched, and what
// was overwritten is other data. Faults become errors here, and a File finds out
// whether anybody wrote to it.
package mapped

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"unsafe"
)

// The reasons of an Error.
var (
	ErrChanged = errors.New("the file was changed in place while it was in use; replace a model by renaming")
	ErrRead    = errors.New("the mapped file cannot be read")
)

// Error says which file can no longer be read as it was opened.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// File is a whole file in memory, mapped where the system can do so safely.
type File struct {
	Data   []byte
	path   string
	opened stamp
	handle // of the system
}

// stamp changes whenever a file is written to. Renaming and deleting the file
// leave it as it is.
type stamp struct {
	size, seconds, nanoseconds int64
}

var (
	mu   sync.Mutex
	open []*File // that are mapped
	// closed are the last files that had changed when they were closed. A fault
	// unwinds through what closes the file before it comes to where it is caught.
	closed [16]remains
)

// remains are where a file was mapped, and what had become of it.
type remains struct {
	start, end uintptr
	err        *Error
}

// Open maps the file at path for reading. Its errors name the path.
func Open(path string) (*File, error) {
	f := &File{path: path}
	mapped, err := f.open()
	if err != nil {
		return nil, err
	}
	if mapped {
		mu.Lock()
		open = append(open, f)
		mu.Unlock()
	}
	return f, nil
}

// Close releases the memory.
func (f *File) Close() error {
	mu.Lock()
	if i := slices.Index(open, f); i >= 0 {
		open = slices.Delete(open, i, i+1)
		var changed *Error
		if errors.As(f.Check(), &changed) {
			start := uintptr(unsafe.Pointer(unsafe.SliceData(f.Data)))
			copy(closed[1:], closed[:])
			closed[0] = remains{start, start + uintptr(len(f.Data)), changed}
		}
	}
	mu.Unlock()
	return f.close()
}

// at returns the mapped file that an address belongs to, nil if there is none.
func at(address uintptr) *File {
	mu.Lock()
	defer mu.Unlock()
	for _, f := range open {
		if start := uintptr(unsafe.Pointer(unsafe.SliceData(f.Data))); address >= start && address-start < uintptr(len(f.Data)) {
			return f
		}
	}
	return nil
}

// ofClosed returns what became of the closed file that an address belonged to, nil if
// there is none.
func ofClosed(address uintptr) *Error {
	mu.Lock()
	defer mu.Unlock()
	for _, r := range closed {
		if address >= r.start && address < r.end {
			return r.err
		}
	}
	return nil
}

// Fault returns the error that a recovered panic stands for, nil if it is not a
// fault of a mapped file.
func Fault(recovered any) *Error {
	fault, ok := recovered.(interface {
		error
		Addr() uintptr
	})
	if !ok {
		return nil
	}
	f := at(fault.Addr())
	if f == nil {
		return ofClosed(fault.Addr())
	}
	var changed *Error
	if errors.As(f.Check(), &changed) {
		return changed
	}
	return &Error{f.path, ErrRead}
}

// Catch is deferred by functions that read mapped memory, and makes a fault of
// theirs their error:
//
//	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
//
// The setting is one of the goroutine, and Catch restores it.
func Catch(err *error, before bool) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		fault := Fault(r)
		if fault == nil {
			panic(r)
		}
		*err = fault
	}
}

// Of returns the mapped file that bytes lie in, nil if there is none.
func Of(data []byte) *File {
	if len(data) == 0 {
		return nil
	}
	return at(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

// Check returns an *Error if the file was written to since it was opened: what
// was read before Check was called is right if it returns nil. It costs one system
// call. A nil File is none that can change.
func (f *File) Check() error {
	if f == nil {
		return nil
	}
	now, err := f.stat()
	switch {
	case err != nil:
		return &Error{f.path, fmt.Errorf("%w: %w", ErrRead, err)}
	case now != f.opened:
		return &Error{f.path, ErrChanged}
	}
	return nil
}

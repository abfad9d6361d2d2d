// Package mapped reads model files that stay mapped into memory. Such a file can change while it
// is read. Touching a part that was cut off faults, and an overwritten part holds other data.
// This package turns such faults into errors, and a File can tell whether anybody wrote to it.
package mapped

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"unsafe"
)

// The causes of an Error.
var (
	ErrChanged = errors.New("the file was changed in place while it was in use; replace a model by renaming")
	ErrRead    = errors.New("the mapped file cannot be read")
)

// Error says which file is no longer what it was when it was opened.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// File is a whole file in memory. It is mapped if the system can do so safely.
type File struct {
	Data   []byte
	path   string
	opened stamp
	handle // the system's part
}

// stamp changes whenever a file is written to. Renaming or deleting the file does not change it.
type stamp struct {
	size, seconds, nanoseconds int64
}

var (
	mu   sync.Mutex
	open []*File // the mapped files
	// closed are the most recently closed files that had changed. A fault passes through the code
	// that closes the file before it reaches the code that catches it.
	closed [16]remains
)

// remains says where a closed file was mapped, and how it had changed.
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

// at returns the mapped file that contains an address, or nil.
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

// ofClosed returns the error of the closed file that contained an address, or nil.
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

// Fault returns the error for a recovered panic, or nil if it is not a fault of a mapped file.
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

// Catch is deferred by functions that read mapped memory. It turns a fault into their error:
//
//	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
//
// SetPanicOnFault applies to the goroutine; Catch restores its value.
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

// Of returns the mapped file that contains data, or nil.
func Of(data []byte) *File {
	if len(data) == 0 {
		return nil
	}
	return at(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

// Check returns an *Error if the file was written to since it was opened. If it returns nil,
// everything read before the call is right. It costs one system call. A nil File never changes.
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

package machine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugePages asks for large pages for memory that will be filled and then read again and again. If
// it begins or ends within a page, that page may become a large one, too.
func HugePages[E any](s []E) {
	const page = 2 << 20
	size := uintptr(len(s)) * unsafe.Sizeof(*new(E))
	if size < page {
		return
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	from, to := first&^(page-1), (first+size+page-1)&^(page-1)
	// If this fails, pages stay small.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_HUGEPAGE)
}

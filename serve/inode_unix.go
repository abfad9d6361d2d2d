//go:build unix

package serve

import (
	"io/fs"
	"syscall"
)

// inode is the number of a file in its file system, which one that is put in its place does
// not have.
func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}

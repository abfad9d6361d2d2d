//go:build !unix

package serve

import "io/fs"

// inode is 0 where the system tells none.
func inode(fs.FileInfo) uint64 { return 0 }

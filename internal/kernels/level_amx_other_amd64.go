//go:build !noasm && !linux

package kernels

// tilesPermitted is false, because it is not known here how to ask this system for the state of
// the tiles.
func tilesPermitted() bool { return false }

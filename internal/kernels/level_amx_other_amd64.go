//go:build !noasm && !linux

package kernels

// tilesPermitted is false: how this system is asked for the state of the tiles
// is not known here.
func tilesPermitted() bool { return false }

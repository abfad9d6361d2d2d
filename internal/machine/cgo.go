//go:build cgo

package machine

const cgo = true

// lessSpace says how the program can take less address space.
const lessSpace = "; built with CGO_ENABLED=0 it takes less"

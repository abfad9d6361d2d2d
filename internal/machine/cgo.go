//go:build cgo

package machine

const cgo = true

// lessSpace is how the program is made to take less address space.
const lessSpace = "; built with CGO_ENABLED=0 it takes less"

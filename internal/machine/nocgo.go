//go:build !cgo

package machine

const cgo = false

// lessSpace is how the program is made to take less address space.
const lessSpace = ""

//go:build !cgo

package machine

const cgo = false

// lessSpace says how the program can take less address space.
const lessSpace = ""

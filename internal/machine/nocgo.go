//go:build !cgo

package machine

const cgo = false

// LessSpace is how the program is made to take less address space.
const LessSpace = ""

//go:build cgo

package machine

const cgo = true

// LessSpace is how the program is made to take less address space.
const LessSpace = "; built with CGO_ENABLED=0 it takes less"

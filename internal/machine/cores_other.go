//go:build !linux && !darwin

package machine

import "math"

// fastCores is unlimited if the system does not tell cores apart.
func fastCores() int { return math.MaxInt }

//go:build !linux && !darwin

package machine

import "math"

// fastCores is without bound where the system does not tell cores apart.
func fastCores() int { return math.MaxInt }

//go:build !linux

package kernels_test

import "time"

var began = time.Now()

func threadSeconds() float64 { return time.Since(began).Seconds() }

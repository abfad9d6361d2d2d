//go:build (!amd64 && !arm64) || noasm

package peak

import "github.com/skive-ml/skive/internal/kernels"

func f32Loop(kernels.Level) loop { return loop{} }

func i8Loop(kernels.Level) loop { return loop{} }

func bf16Loop(kernels.Level) loop { return loop{} }

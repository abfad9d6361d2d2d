//go:build !noasm

package kernels

import "golang.org/x/sys/windows"

// hasI8MM asks the system: package cpu does not. Before Windows 11 24H2 and Windows
// Server 2025 it does not know the question, and the answer is no.
func hasI8MM() bool {
	return windows.IsProcessorFeaturePresent(windows.PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE)
}

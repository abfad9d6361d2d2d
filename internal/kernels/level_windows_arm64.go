//go:build !noasm

package kernels

import "golang.org/x/sys/windows"

// hasI8MM asks the system, because package cpu does not. Systems before Windows 11 24H2 and
// Windows Server 2025 do not know the question and answer no.
func hasI8MM() bool {
	return windows.IsProcessorFeaturePresent(windows.PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE)
}

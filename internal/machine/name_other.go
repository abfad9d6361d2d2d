//go:build !linux && !darwin && !windows

package machine

func cpuName() string { return "" }

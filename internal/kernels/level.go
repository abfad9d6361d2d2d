package kernels

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Lanes is the number of virtual lanes of a reduction and the width of a panel.
const Lanes = 16

// Level is an instruction set that the kernels are made for. Every level gives
// the same bits, but for the products of bfloat16, which add up in another order
// at AMX.
type Level int

// The levels. Each one includes those before it.
const (
	Generic    Level = iota // plain Go
	AVX2                    // AVX2, FMA and F16C
	AVX512                  // AVX-512 F, BW, DQ and VL
	AVX512VNNI              // AVX512 and VNNI
	AVX512BF16              // AVX512VNNI and BF16
	AMX                     // AVX512BF16 and the tiles of AMX, for 8-bit integers and bfloat16
)

var levelNames = [...]string{"generic", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"}

// String returns the level's name, as SKIVE_ISA spells it.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levelNames[l]
}

// ISAVariable is the environment variable that forces a lower level.
const ISAVariable = "SKIVE_ISA"

// An ISAErr says that SKIVE_ISA asks for a level that cannot be used.
type ISAErr struct {
	Value     string  // what the variable holds
	Available []Level // what could be asked for
}

func (e *ISAErr) Error() string {
	var names []string
	known := slices.Contains(levelNames[:], e.Value)
	for _, l := range e.Available {
		names = append(names, l.String())
	}
	problem := "is not an instruction set"
	if known {
		problem = "is not available here"
	}
	return fmt.Sprintf("%s=%s %s: want one of %s", ISAVariable, e.Value, problem, strings.Join(names, ", "))
}

var (
	best    = detect()
	isaErr  *ISAErr
	current = startLevel(os.Getenv(ISAVariable))
	// tileSums tells that products of bfloat16 add up as TDPBF16PS does it.
	tileSums = current == AMX
)

// startLevel is the level that value, of SKIVE_ISA, asks for: the best one when
// it is empty or, with isaErr set, when it is of no use.
func startLevel(value string) Level {
	if value == "" {
		return best
	}
	for _, l := range Available() {
		if l.String() == value {
			return l
		}
	}
	isaErr = &ISAErr{Value: value, Available: Available()}
	return best
}

// Available returns the levels that this CPU and this build have, lowest first.
func Available() []Level {
	levels := make([]Level, 0, best+1)
	for l := Generic; l <= best; l++ {
		levels = append(levels, l)
	}
	return levels
}

// Current returns the level in use.
func Current() Level { return current }

// ISAError returns an *ISAErr when SKIVE_ISA held a level that is unknown or not
// available at start, in which case the best one is in use; otherwise nil.
func ISAError() error {
	if isaErr == nil {
		return nil
	}
	return isaErr
}

// Use switches to level l, which must be available, until restore is called. It
// is for tests and measurements: no kernel may run meanwhile.
func Use(l Level) (restore func()) {
	if l < Generic || l > best {
		panic("kernels: level not available")
	}
	was, wasTiles := current, tileSums
	current, tileSums = l, l == AMX
	return func() { current, tileSums = was, wasTiles }
}

// UseDefinition is Use of the generic level with the products of bfloat16 as
// level l adds them up: its results are what those of l have to be.
func UseDefinition(l Level) (restore func()) {
	restore = Use(Generic)
	tileSums = l == AMX
	return restore
}

package kernels

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Lanes is the number of virtual lanes in a reduction and the width of a panel.
const Lanes = 16

// capability is one or more sets of instructions that kernels use.
type capability uint

// Capabilities of amd64.
const (
	avx2     capability = 1 << iota // AVX2, FMA and F16C
	avx512                          // AVX-512 F, BW, DQ and VL
	vnni                            // AVX-512 VNNI: products of 8-bit integers
	bf16dot                         // AVX-512 BF16: products of bfloat16
	amxTiles                        // AMX: tiles of 8-bit integers and bfloat16
)

// Capabilities of arm64.
const (
	neon    capability = 1 << iota // Advanced SIMD, which every arm64 has
	dotProd                        // FEAT_DotProd: SDOT
	i8mm                           // FEAT_I8MM: SMMLA, products of small matrices of 8-bit integers
)

func (c capability) has(all capability) bool { return c&all == all }

// Level is a named set of instructions to which the kernels can be limited. Every level gives the
// same bits, except for products of bfloat16, which AMX adds up in another order.
type Level int

// The levels.
const (
	Generic    Level = iota // plain Go
	AVX2                    // AVX2, FMA and F16C
	AVX512                  // AVX-512 F, BW, DQ and VL
	AVX512VNNI              // AVX512 and VNNI
	AVX512BF16              // AVX512VNNI and BF16
	AMX                     // AVX512BF16 and the tiles of AMX, for 8-bit integers and bfloat16
	NEON                    // Advanced SIMD of arm64
	DotProd                 // NEON and products of 8-bit integers, FEAT_DotProd
	I8MM                    // DotProd and products of small matrices, FEAT_I8MM
)

// levels are the levels by number. Those of an architecture are in the order of preference, the
// best one last. A capability belongs to one architecture.
var levels = [...]struct {
	name string // as SKIVE_ISA spells it
	has  capability
}{
	Generic:    {"generic", 0},
	AVX2:       {"avx2", avx2},
	AVX512:     {"avx512", avx2 | avx512},
	AVX512VNNI: {"avx512vnni", avx2 | avx512 | vnni},
	AVX512BF16: {"avx512bf16", avx2 | avx512 | vnni | bf16dot},
	AMX:        {"amx", avx2 | avx512 | vnni | bf16dot | amxTiles},
	NEON:       {"neon", neon},
	DotProd:    {"dotprod", neon | dotProd},
	I8MM:       {"i8mm", neon | dotProd | i8mm},
}

// String returns the level's name, as SKIVE_ISA spells it.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levels) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return levels[l].name
}

// levelOf returns the level of a name.
func levelOf(name string) (Level, bool) {
	for l := range levels {
		if levels[l].name == name {
			return Level(l), true
		}
	}
	return 0, false
}

// ISAVariable is the environment variable that forces a lower level.
const ISAVariable = "SKIVE_ISA"

// An ISAErr says that SKIVE_ISA asks for a level that cannot be used.
type ISAErr struct {
	Value     string  // value of the variable
	Available []Level // levels that are possible
}

func (e *ISAErr) Error() string {
	var names []string
	_, known := levelOf(e.Value)
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
	detected = detect() // what CPU, operating system and build have
	isaErr   *ISAErr
	current  = startLevel(os.Getenv(ISAVariable))
	// active holds the capabilities of the level in use.
	active = levels[current].has
	// tileSums tells whether products of bfloat16 add up as by TDPBF16PS.
	tileSums = current == AMX
)

// startLevel returns the level for a value of SKIVE_ISA. It is the best one if the value is
// empty, or if the value is not usable, which sets isaErr.
func startLevel(value string) Level {
	available := Available()
	best := available[len(available)-1]
	if value == "" {
		return best
	}
	if l, ok := levelOf(value); ok && slices.Contains(available, l) {
		return l
	}
	isaErr = &ISAErr{Value: value, Available: available}
	return best
}

// Available returns the levels that this CPU and this build have, the best one last.
func Available() []Level {
	var available []Level
	for l := range levels {
		if Level(l).here() && detected.has(levels[l].has) {
			available = append(available, Level(l))
		}
	}
	return available
}

// here tells whether a level belongs to this architecture.
func (l Level) here() bool {
	return l == Generic || (runtime.GOARCH == "arm64") == (l >= NEON)
}

// Current returns the level in use.
func Current() Level { return current }

// ISAError returns an *ISAErr if SKIVE_ISA had an unknown or unavailable level at the start, and
// otherwise nil. The best level is then in use.
func ISAError() error {
	if isaErr == nil {
		return nil
	}
	return isaErr
}

// Use switches to level l, which must be available, until restore is called. It is for tests and
// measurements: no kernel may run during a switch.
func Use(l Level) (restore func()) {
	if !slices.Contains(Available(), l) {
		panic("kernels: level not available")
	}
	was, wasTiles := current, tileSums
	use := func(l Level, tiles bool) { current, active, tileSums = l, levels[l].has, tiles }
	use(l, l == AMX)
	return func() { use(was, wasTiles) }
}

// UseDefinition switches to the generic level, with products of bfloat16 added up as at level l.
// Its results are those that l must give.
func UseDefinition(l Level) (restore func()) {
	restore = Use(Generic)
	tileSums = l == AMX
	return restore
}

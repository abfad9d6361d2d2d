package main

import (
	"bytes"
	"fmt"
	"go/format"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// instructions is a column of the table of kernels: a set of instructions of an
// architecture that they are made for.
type instructions struct {
	capability string // that package kernels asks for
	suffix     string // of the kernels' names
	rows       int    // that kernels of several rows take at a time, 0 without such
}

// architectures are the columns, the best one first.
var architectures = map[string][]instructions{
	"amd64": {{"avx512", "AVX512", 4}, {"avx2", "AVX2", 2}},
	"arm64": {{"neon", "NEON", 0}},
}

// kernel is a row of the table: a function of package kernels that calls what each
// set of instructions has for it. In calls @ stands for the suffix.
type kernel struct {
	name, params, result string
	// call is the call of a kernel, generic that of the Go loop, which is call
	// itself where it has the same arguments.
	call, generic string
	// several, where it is set, is the call of a kernel that takes a few of rows
	// rows at a time. The function then returns how many rows it did.
	several string
	// lanes names the slice of which the kernels do whole lanes alone; the Go
	// loop does the rest.
	lanes string
}

var dispatched = []kernel{
	{name: "vexp", params: "dst, x []float32", call: "exp@(dst, x)"},
	{name: "softmax", params: "x []float32, scale float32", call: "softmax@(x, scale)"},
	{name: "softmaxRows", params: "rows int, x []float32, n, ld int, scale float32",
		call: "softmax@(x[:n], scale)", several: "softmaxRows@(&x[0], n, ld, scale)"},
	{name: "softmaxWeightsRows", params: "rows int, x []float32, n int, scale float32, sums []float32",
		call: "sums[0] = softmaxWeights@(x[:n], scale)", several: "softmaxWeightsRows@(&x[0], n, n, scale, &sums[0])"},
	{name: "softmaxBackward", params: "dx, dp, p []float32, scale float32", call: "softmaxBackward@(dx, dp, p, scale)"},
	{name: "logSumExp", params: "x []float32", result: "(m, s float32)", call: "logSumExp@(x)"},

	{name: "gelu", params: "dst, x []float32", call: "gelu@(dst, x)"},
	{name: "geluTanh", params: "dst, x []float32", call: "geluTanh@(dst, x)"},
	{name: "relu", params: "dst, x []float32", call: "relu@(dst, x)"},
	{name: "tanh", params: "dst, x []float32", call: "tanh@(dst, x)"},
	{name: "silu", params: "dst, x []float32", call: "silu@(dst, x)"},
	{name: "geluBackward", params: "dx, dy, pre []float32", call: "geluBackward@(dx, dy, pre)"},
	{name: "geluTanhBackward", params: "dx, dy, pre []float32", call: "geluTanhBackward@(dx, dy, pre)"},
	{name: "reluBackward", params: "dx, dy, pre []float32", call: "reluBackward@(dx, dy, pre)"},
	{name: "tanhBackward", params: "dx, dy, pre []float32", call: "tanhBackward@(dx, dy, pre)"},
	{name: "siluBackward", params: "dx, dy, pre []float32", call: "siluBackward@(dx, dy, pre)"},

	{name: "layerNorm", params: "rows int, dst, x, gamma, beta []float32, eps float32, s *rowStats",
		call:    "layerNorm@(&dst[0], &x[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		several: "layerNormRows@(&dst[0], &x[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		generic: "layerNorm@(dst, x, gamma, beta, eps, s)"},
	{name: "addLayerNorm", params: "rows int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats",
		call:    "addLayerNorm@(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		several: "addLayerNormRows@(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		generic: "addLayerNorm@(dst, sum, x, residual, gamma, beta, eps, s)"},
	{name: "addLayerNormMax", params: "rows int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats",
		call:    "addLayerNormMax@(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		several: "addLayerNormMaxRows@(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], len(gamma), eps, &s.mean[0])",
		generic: "addLayerNormMax@(dst, sum, x, residual, gamma, beta, eps, s)"},
	{name: "layerNormBackward", params: "dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32",
		call: "layerNormBackward@(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)"},

	{name: "add", params: "dst, a, b []float32", call: "add@(dst, a, b)"},
	{name: "mul", params: "dst, a, b []float32", call: "mul@(dst, a, b)"},
	{name: "axpy", params: "dst []float32, alpha float32, x []float32", call: "axpy@(dst, alpha, x)"},
	{name: "scaleBy", params: "dst []float32, alpha float32, x []float32", call: "scaleBy@(dst, alpha, x)"},
	{name: "sum", params: "x []float32", result: "float32", call: "sum@(x)"},
	{name: "dot", params: "a, b []float32", result: "float32", call: "dot@(a, b)"},
	{name: "sumSquares", params: "x []float32", result: "float64", call: "sumSquares@(x)"},
	{name: "maxAbsBits", params: "x []float32", result: "uint32", call: "maxAbsBits@(x)"},
	{name: "columnSums", params: "dst, x []float32, rows, ld int", call: "columnSums@(dst, x, rows, ld)"},

	{name: "quantizeRow", params: "dst []int8, x []float32, inverse float32", result: "(sum int32)", call: "quantizeRow@(dst, x, inverse)"},
	{name: "dequantizeRow", params: "dst []float32, src []int8, scale float32", call: "dequantizeRow@(dst, src, scale)", lanes: "src"},
	{name: "f16ToF32", params: "dst []float32, src []uint16", call: "f16ToF32@(dst, src)", lanes: "src"},
	{name: "f32ToF16", params: "dst []uint16, src []float32", call: "f32ToF16@(dst, src)", lanes: "src"},
	{name: "bf16ToF32", params: "dst []float32, src []uint16", call: "bf16ToF32@(dst, src)", lanes: "src"},
	{name: "f32ToBF16", params: "dst []uint16, src []float32", call: "f32ToBF16@(dst, src)", lanes: "src"},

	{name: "dropout", params: "dst, x []float32, scale float32, threshold, counter, k0, k1 uint32",
		call: "dropout@(dst, x, scale, threshold, counter, k0, k1)"},
	{name: "adamW", params: "w, g, m, v []float32, f *adamWFactors", call: "adamW@(w, g, m, v, &f.grad)", generic: "adamW@(w, g, m, v, f)"},
}

// writeDispatch writes the functions for each architecture, and those of Go loops
// alone for all others.
func writeDispatch(dir string) error {
	names := slices.Sorted(maps.Keys(architectures))
	for _, arch := range names {
		if err := writeDispatchFile(filepath.Join(dir, "dispatch_"+arch+".go"), "!noasm", architectures[arch]); err != nil {
			return err
		}
	}
	return writeDispatchFile(filepath.Join(dir, "dispatch_noasm.go"), "(!"+strings.Join(names, " && !")+") || noasm", nil)
}

func writeDispatchFile(path, constraint string, columns []instructions) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n//go:build %s\n\npackage kernels\n", generatedHeader, constraint)
	for _, k := range dispatched {
		result := k.result
		if k.several != "" {
			result = "int"
		}
		fmt.Fprintf(&b, "\nfunc %s(%s) %s {\n", k.name, k.params, result)
		k.body(&b, columns)
		b.WriteString("}\n")
	}
	text, err := format.Source(b.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func (k kernel) body(b *bytes.Buffer, columns []instructions) {
	generic := k.generic
	if generic == "" {
		generic = k.call
	}
	generic = strings.ReplaceAll(generic, "@", "Generic")
	if k.result != "" {
		generic = "return " + generic
	}
	if len(columns) == 0 {
		b.WriteString(generic + "\n")
		if k.several != "" {
			b.WriteString("return 1\n")
		}
		return
	}
	if k.lanes != "" {
		b.WriteString("whole := 0\n")
	}
	b.WriteString("switch {\n")
	for _, c := range columns {
		call := strings.ReplaceAll(k.call, "@", c.suffix)
		if k.several != "" && c.rows > 0 {
			fmt.Fprintf(b, "case active.has(%s) && rows >= %d:\n%s\nreturn %d\n", c.capability, c.rows, strings.ReplaceAll(k.several, "@", c.suffix), c.rows)
		}
		fmt.Fprintf(b, "case active.has(%s):\n", c.capability)
		switch {
		case k.result != "":
			call = "return " + call
		case k.lanes != "":
			call += fmt.Sprintf("\nwhole = len(%s) &^ (Lanes - 1)", k.lanes)
		}
		b.WriteString(call + "\n")
	}
	switch {
	case k.result != "":
		b.WriteString("}\n" + generic + "\n")
	case k.lanes != "":
		rest := strings.NewReplacer("(dst, ", "(dst[whole:], ", k.lanes, k.lanes+"[whole:]").Replace(generic)
		b.WriteString("}\n" + rest + "\n")
	default:
		fmt.Fprintf(b, "default:\n%s\n}\n", generic)
	}
	if k.several != "" {
		b.WriteString("return 1\n")
	}
}

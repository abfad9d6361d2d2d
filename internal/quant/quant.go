// Package quant has the arithmetic of weight quantization. The stage that makes an int8 model and
// the engine that quantizes while loading both use it, so they agree to the bit.
package quant

import (
	"errors"
	"math"
)

// ErrNotFinite is returned for weights that contain NaN or infinity.
var ErrNotFinite = errors.New("holds NaN or infinity")

// Max is the largest magnitude of a quantized value. -128 is not used, so the range is symmetric.
const Max = 127

// Channels quantizes the rows of w, a weight of shape [out, in], symmetrically and each with its
// own scale:
//
//	scale = max|w| / 127,  q = round-half-even(w / scale)
//
// So scale*q is within scale/2 of w. A row of zeros has scale 0. The results go to q and scale,
// which have out*in and out elements.
func Channels(q []int8, scale, w []float32, out, in int) error {
	for o := range out {
		row := w[o*in : (o+1)*in]
		var largest float32
		for _, v := range row {
			a := math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
			if !(a <= math.MaxFloat32) {
				return ErrNotFinite
			}
			largest = max(largest, a)
		}
		s := largest / Max
		scale[o] = s
		dst := q[o*in : (o+1)*in]
		if s == 0 {
			clear(dst)
			continue
		}
		for i, v := range row {
			r := math.RoundToEven(float64(v) / float64(s))
			dst[i] = int8(min(max(r, -Max), Max))
		}
	}
	return nil
}

package checkpoints

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/skive-ml/skive/internal/exact"
)

// rope are settings of rotary positions in config.json.
type rope struct {
	Type    *string  `json:"rope_type"`
	OldType *string  `json:"type"`
	Theta   *float64 `json:"rope_theta"`
	Factor  *float64 `json:"factor"`
	Part    *float64 `json:"partial_rotary_factor"`
	Mixed   *float64 `json:"mixed_b"`
	// Full and Sliding are settings of kinds of layers, in families that have two.
	Full    json.RawMessage `json:"full_attention"`
	Sliding json.RawMessage `json:"sliding_attention"`
}

// readRotary reads the settings of rotary positions that all layers share. As in
// transformers, rope_scaling goes before rope_parameters, and what these say before the
// keys beside them. base is the default.
func (c *Config) readRotary(text []byte, base float64) error {
	var of struct {
		Scaling    map[string]json.RawMessage `json:"rope_scaling"`
		Parameters map[string]json.RawMessage `json:"rope_parameters"`
		Theta      *float64                   `json:"rope_theta"`
		Part       *float64                   `json:"partial_rotary_factor"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return jsonError(err)
	}
	key, settings := "rope_scaling", of.Scaling
	if len(settings) == 0 {
		key, settings = "rope_parameters", of.Parameters
	}
	inner, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	var r rope
	if err := json.Unmarshal(inner, &r); err != nil {
		return fmt.Errorf("%s: %w", key, jsonError(err))
	}
	switch part := valueOr(r.Part, valueOr(of.Part, 1)); {
	case part != 1:
		return unsupported("partial_rotary_factor %g", part)
	case r.Full != nil || r.Sliding != nil:
		return unsupported("%s of kinds of layers", key)
	}
	c.RotaryBase = valueOr(r.Theta, valueOr(of.Theta, base))
	kind := valueOr(r.Type, valueOr(r.OldType, "default"))
	if kind == "default" {
		return nil
	}
	if r.Factor == nil {
		return fmt.Errorf("%s.factor is missing", key)
	}
	factor := *r.Factor
	if !(factor >= 1) || factor > math.MaxFloat32 {
		return fmt.Errorf("%s.factor is %g, expected at least 1", key, factor)
	}
	switch kind {
	case "linear":
		c.RotaryScale = factor
	case "ntk": // of GTE's own code
		if r.Mixed != nil {
			return unsupported("%s.mixed_b %g", key, *r.Mixed)
		}
		c.RotaryBase *= factor
		c.RotaryScale = exact.Pow(factor, 2/float64(c.HeadDim))
	default:
		return unsupported("%s.rope_type %q", key, kind)
	}
	if factor == 1 {
		c.RotaryScale = 0
	}
	return nil
}

// addRotary writes what readRotary reads. NTK's scaling is one of transformers' linear
// kind with another base.
func (c Config) addRotary(out *orderedJSON) {
	var o orderedJSON
	o.add("rope_theta", c.RotaryBase)
	if c.RotaryScale == 0 {
		o.add("rope_type", "default")
	} else {
		o.add("rope_type", "linear")
		o.add("factor", c.RotaryScale)
	}
	out.add("rope_parameters", o)
}

// validateRotary checks the settings of rotary positions.
func (c Config) validateRotary() error {
	if !c.Rotary() {
		if c.RotaryBase != 0 || c.RotaryScale != 0 {
			return fmt.Errorf("rotary positions of %s: %w", c.family().class, ErrUnsupported)
		}
		return nil
	}
	switch {
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head_dim is %d, expected an even number: rotary positions turn pairs", c.HeadDim)
	case c.RotaryScale != 0 && (!(c.RotaryScale >= 1) || c.RotaryScale > math.MaxFloat32):
		return fmt.Errorf("factor of rotary positions is %g, expected at least 1", c.RotaryScale)
	}
	return validateBase(fullAttention, c.RotaryBase)
}

// validateBase checks the base of rotary positions of a kind of layers.
func validateBase(kind string, base float64) error {
	if !(base >= 1) || base > math.MaxFloat32 {
		return fmt.Errorf("rope_theta of %s is %g, expected at least 1", kind, base)
	}
	return nil
}

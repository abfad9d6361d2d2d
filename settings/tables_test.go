package settings_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bench"
	"github.com/skive-ml/skive/score"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// options have a table of their settings.
type options interface{ Settings() settings.Table }

// tables are the defaults of all options that have a table, with the fields that are no
// settings.
func tables() map[options][]string {
	training, distillation, augment := train.Defaults(), distill.Defaults(), distill.AugmentDefaults()
	stage := distill.TinyBERT()[0]
	plan, quantization, measured := compress.PlanDefaults(), compress.QuantizeDefaults(), bench.Defaults()
	source, generated, scoring := evaluate.SourceDefaults(), reviews.Defaults(), score.Defaults()
	return map[options][]string{
		&training:          {"Stage", "Progress", "OnStep", "OnProfile", "OnEvaluation"},
		&distillation:      {"Stage", "Progress", "OnStep", "OnProfile", "OnEvaluation", "Ensemble", "Own", "shards", "making"},
		&augment:           {"Seed", "Threads", "Progress"},
		&infer.Options{}:   {"Profile", "Observe"},
		&distill.Size{}:    nil,
		&stage:             {"Own"},
		&distill.Student{}: nil,
		&plan:              {"Train", "Dev", "Costs", "Recover", "Output", "Resume", "Overwrite", "Progress", "Cut", "Set", "Importance"},
		&quantization:      {"Inputs", "Examples", "MaxLength", "Threads", "Progress"},
		&compress.ExportOptions{Format: compress.Skive}: nil,
		&source:    {"Labels", "ModelLabels", "RequireLabels", "NoLabels", "Limit", "Progress", "said"},
		&measured:  {"Threads"},
		&generated: nil,
		&scoring:   {"Models", "Inputs", "Output", "Engine", "Progress", "store"},
	}
}

// Each field of the options has a row, or is known not to be a setting, and each row
// names the field that it points to. The defaults are usable.
func TestTablesDescribeTheirOptions(t *testing.T) {
	t.Parallel()
	for o, others := range tables() {
		table := o.Settings()
		v := reflect.ValueOf(o).Elem()
		var fields []string
		seen := map[string]bool{}
		for _, s := range table {
			fields = append(fields, s.Field)
			if seen[s.Name] {
				t.Errorf("%s: two settings are called %s", v.Type(), s.Name)
			}
			seen[s.Name] = true
			f := v
			for name := range strings.SplitSeq(s.Field, ".") {
				f = f.FieldByName(name)
			}
			value := s.Value
			if o, ok := value.(settings.Optional); ok {
				value = o.To
			}
			if !f.IsValid() || f.Addr().Pointer() != reflect.ValueOf(value).Pointer() {
				t.Errorf("%s: the row %s does not point to the field %q", v.Type(), s.Name, s.Field)
			}
			for _, name := range s.With {
				if !slices.ContainsFunc(table, func(o settings.Setting) bool { return o.Name == name }) {
					t.Errorf("%s: %s belongs to %q, which is not there", v.Type(), s.Name, name)
				}
			}
		}
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.Anonymous && !slices.Contains(fields, f.Name) && !slices.Contains(others, f.Name) {
				t.Errorf("%s: the field %s is in no row", v.Type(), f.Name)
			}
		}
		if err := table.Check(); err != nil {
			t.Errorf("%s: the defaults: %v", v.Type(), err)
		}
	}
}

// No number has a secret meaning: one below 0 is refused.
func TestNumbersMeanWhatTheySay(t *testing.T) {
	t.Parallel()
	check := func(o options) error {
		if stage, ok := o.(*distill.Stage); ok {
			return distill.CheckStages([]distill.Stage{*stage}, distill.Defaults())
		}
		return o.Settings().Check()
	}
	for o := range tables() {
		for _, s := range o.Settings() {
			var err error
			switch v := s.Value.(type) {
			case *int:
				before := *v
				*v = -1
				err = check(o)
				*v = before
			case *float64:
				before := *v
				*v = -1
				err = check(o)
				*v = before
			case settings.Optional:
				before := *v.To
				*v.To = new(-1.0)
				err = check(o)
				*v.To = before
			default:
				continue
			}
			var wrong *settings.Error
			if !errors.As(err, &wrong) || !strings.HasSuffix(wrong.Field, s.Field) {
				t.Errorf("%T: %s of -1: error %v, expected one about it", o, s.Field, err)
			}
		}
	}
}

package settings_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Each field of the options has a row, or is known not to be a setting, and each row
// names the field that it points to. The defaults are usable.
func TestTablesDescribeTheirOptions(t *testing.T) {
	training, distillation := train.Defaults(), distill.Defaults()
	augment, size := distill.AugmentDefaults(), distill.Size{}
	stage, student := distill.TinyBERT()[0], compress.Student{}
	for _, c := range []struct {
		options any
		table   settings.Table
		others  []string
	}{
		{&training, training.Settings(), []string{"Stage", "Progress", "OnStep", "OnProfile", "OnEvaluation"}},
		{&distillation, distillation.Settings(), []string{"Stage", "Progress", "OnStep", "OnProfile", "OnEvaluation", "Ensemble", "Own"}},
		{&augment, augment.Settings(), []string{"Seed", "Threads", "Progress"}},
		{&size, size.Settings(), nil},
		{&stage, stage.Settings(), []string{"Own"}},
		{&student, student.Settings(), nil},
	} {
		v := reflect.ValueOf(c.options).Elem()
		var fields []string
		seen := map[string]bool{}
		for _, s := range c.table {
			fields = append(fields, s.Field)
			if seen[s.Name] {
				t.Errorf("%s: two settings are called %s", v.Type(), s.Name)
			}
			seen[s.Name] = true
			f := v.FieldByName(s.Field)
			if !f.IsValid() || f.Addr().Pointer() != reflect.ValueOf(s.Value).Pointer() {
				t.Errorf("%s: the row %s does not point to the field %q", v.Type(), s.Name, s.Field)
			}
			for _, name := range s.With {
				if !slices.ContainsFunc(c.table, func(o settings.Setting) bool { return o.Name == name }) {
					t.Errorf("%s: %s belongs to %q, which is not there", v.Type(), s.Name, name)
				}
			}
		}
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.Anonymous && !slices.Contains(fields, f.Name) && !slices.Contains(c.others, f.Name) {
				t.Errorf("%s: the field %s is in no row", v.Type(), f.Name)
			}
		}
		if err := c.table.Check(); err != nil {
			t.Errorf("%s: the defaults: %v", v.Type(), err)
		}
	}
}

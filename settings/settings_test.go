package settings

import "testing"

func TestSizesInBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "17": 17, "500M": 500 << 20, "4G": 4 << 30, "4GiB": 4 << 30, "2kb": 2 << 10} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%s: %d, error %v, want %d", text, int64(b), err, want)
		}
	}
	for _, text := range []string{"", "-1", "G", "4X", "1.5G", "99999999999G"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"teacher.batch_size", "teacher.epochs", "text", "train"}
	for name, want := range map[string]string{
		"teacher.batchsize": "teacher.batch_size", "teacher.epoch": "teacher.epochs", "tex": "text", "trian": "train",
		"nothing": "", "teacher.rate": "", "x": "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Package headtest checks that packages handle every kind of head.
package headtest

import (
	"testing"

	"github.com/skive-ml/skive/head"
)

// Rows reports kinds of heads for which a package's table has no row, and rows without a kind.
func Rows[V any](t *testing.T, table map[head.Kind]V) {
	t.Helper()
	for _, kind := range head.All() {
		if _, ok := table[kind]; !ok {
			t.Errorf("there is no row for %s", kind)
		}
	}
	for kind := range table {
		if !kind.Known() {
			t.Errorf("there is a row for %q, which is no head", string(kind))
		}
	}
}

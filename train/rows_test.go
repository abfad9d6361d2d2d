package train

import (
	"testing"

	"github.com/skive-ml/skive/internal/headtest"
)

func TestEveryHeadHasARow(t *testing.T) {
	t.Parallel()
	headtest.Rows(t, losses)
}

package linear

import (
	"testing"

	"github.com/skive-ml/skive/internal/headtest"
)

func TestEveryHeadHasARow(t *testing.T) { headtest.Rows(t, slopes) }

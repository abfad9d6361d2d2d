package kernels

// Panic messages for programming errors: slices whose lengths do not fit together.
const (
	badLength = "kernels: slice lengths differ"
	shortData = "kernels: slice too short for its rows and stride"
)

func sameLength(n int, others ...int) {
	for _, o := range others {
		if o != n {
			panic(badLength)
		}
	}
}

// laneSum adds the 16 lanes by the fixed tree 8+8, 4+4, 2+2, 1+1, with which every reduction
// ends.
func laneSum(l *[16]float32) float32 {
	for w := 8; w > 0; w /= 2 {
		for i := range w {
			l[i] += l[i+w]
		}
	}
	return l[0]
}

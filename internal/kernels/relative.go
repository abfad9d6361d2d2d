package kernels

// Relative are terms of the scores of attention that depend on the distance of query
// and key as well as on one of them (DeBERTa, He et al., arXiv 2006.03654).
type Relative struct {
	// Q and K hold a query and a key for each row of distances.
	Q, K ViewF32
	// Rows is the row for each distance of a key from a query, from 1-Tokens to
	// Tokens-1. Rows never rise. Without any, there are no such terms.
	Rows []int32
}

// relativeScratch is the memory of these terms.
type relativeScratch struct {
	keys, queries         PanelsF32
	keysBF16, queriesBF16 PanelsBF16
	ofQueries, ofKeys     []float32
}

// AddRelative adds to the products of the queries and all keys, Queries×Tokens, what
// Forward and, with rounded, ForwardBF16 add to them:
//
//	scores[i][j] = scores[i][j] + q[i]·Relative.K[r] + k[j]·Relative.Q[r],  r = Relative.Rows[Tokens-1+j-i]
//
// The products are those of GemmF32 or GemmBF16.
func (a *Attention) AddRelative(scores []float32, rounded bool, s *Scratch) {
	a.addRelative(&attentionBlock{rows: a.Queries, hi: a.Tokens, queries: a.Q, scores: scores, pack: true}, rounded, s)
}

// addRelative is AddRelative for a block, of whose sequence the first one packs.
func (a *Attention) addRelative(b *attentionBlock, rounded bool, s *Scratch) {
	all, n, d := a.Relative.Rows, a.Tokens, a.Width
	if len(all) == 0 {
		return
	}
	first := int(all[2*n-2-a.First])
	width := int(all[n-a.First-a.Queries]) + 1 - first
	r := &s.relative
	r.ofKeys, r.ofQueries = grow(r.ofKeys, n*width), grow(r.ofQueries, b.rows*width)
	keys, queries := rowsFrom(a.Relative.K, first).T(), rowsFrom(a.Relative.Q, first).T()
	if rounded {
		if b.pack {
			r.keysBF16.Pack(keys, d, width)
			r.queriesBF16.Pack(queries, d, width)
			GemmBF16(n, a.K, &r.queriesBF16, 0, r.queriesBF16.Panels(), r.ofKeys, width, Epilogue{}, s)
		}
		GemmBF16(b.rows, b.queries, &r.keysBF16, 0, r.keysBF16.Panels(), r.ofQueries, width, Epilogue{}, s)
	} else {
		if b.pack {
			r.keys.Pack(keys, d, width)
			r.queries.Pack(queries, d, width)
			GemmF32(n, a.K, &r.queries, 0, r.queries.Panels(), r.ofKeys, width, Epilogue{}, s)
		}
		GemmF32(b.rows, b.queries, &r.keys, 0, r.keys.Panels(), r.ofQueries, width, Epilogue{}, s)
	}
	for i := range b.rows {
		scores, ofQuery := b.scores[i*n:][:n], r.ofQueries[i*width:][:width]
		for j, row := range all[n-1-a.First-b.top-i:][:n] {
			at := int(row) - first
			scores[j] = scores[j] + ofQuery[at] + r.ofKeys[j*width+at]
		}
	}
}

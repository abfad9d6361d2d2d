//go:build !amd64 || noasm

package kernels

import "github.com/skive-ml/skive/internal/team"

// share, pack and multiplyPairs have no use without tiles.
func (g *gemmJob) share(*team.Team, func(worker, part int))                                    {}
func (g *gemmJob) pack(worker, part int)                                                       {}
func (g *gemmJob) multiplyPairs(top, bottom, lo, hi int, c []float32, ep Epilogue, s *Scratch) {}

// amxScratch is what the AMX kernels need, which are not here.
type amxScratch struct{}

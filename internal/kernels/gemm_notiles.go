//go:build !amd64 || noasm

package kernels

import "github.com/skive-ml/skive/internal/team"

// share, pack and multiplyPairs are only used with tiles.
func (g *gemmJob) share(*team.Team, func(worker, part int))                                    {}
func (g *gemmJob) pack(worker, part int)                                                       {}
func (g *gemmJob) multiplyPairs(top, bottom, lo, hi int, c []float32, ep Epilogue, s *Scratch) {}

// amxScratch is empty without AMX kernels.
type amxScratch struct{}

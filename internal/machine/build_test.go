package machine

import (
	"runtime/debug"
	"testing"
)

func TestBuild(t *testing.T) {
	t.Parallel()
	if got := describe(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, GoVersion: "go1.26"}); got != "" {
		t.Errorf("a build that tells nothing: %q", got)
	}
	info := &debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, GoVersion: "go1.26", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}}
	if got, want := describe(info), " (v0.1.0, commit 0123456789ab with changes, go1.26)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

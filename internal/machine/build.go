package machine

import (
	"runtime/debug"
	"strings"
)

// Build says what the program was built from, in parentheses after a space: the version of the
// module, the commit, and whether files had changed. It is "" if the build does not tell, as for
// a test.
func Build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return describe(info)
}

func describe(info *debug.BuildInfo) string {
	var parts []string
	if v := info.Main.Version; v != "" && v != "(devel)" {
		parts = append(parts, v)
	}
	of := map[string]string{}
	for _, s := range info.Settings {
		of[s.Key] = s.Value
	}
	if commit := of["vcs.revision"]; commit != "" {
		part := "commit " + commit[:min(12, len(commit))]
		if of["vcs.modified"] == "true" {
			part += " with changes"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(append(parts, info.GoVersion), ", ") + ")"
}

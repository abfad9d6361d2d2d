package machine

import (
	"bufio"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// groups returns the directories of the control groups that limit the process by a controller, in
// version 1 and in version 2: its own and those above. Inside a container its path may be
// missing; then the root counts.
func groups(root fs.FS, controller string) (v1, v2 []string) {
	group1, group2 := "/", "/"
	if b, err := fs.ReadFile(root, "proc/self/cgroup"); err == nil {
		for line := range strings.SplitSeq(string(b), "\n") {
			// The line is number:controllers:path. Version 2 has no controllers.
			parts := strings.SplitN(line, ":", 3)
			switch {
			case len(parts) < 3:
			case parts[1] == "":
				group2 = parts[2]
			case slices.Contains(strings.Split(parts[1], ","), controller):
				group1 = parts[2]
			}
		}
	}
	up := func(mount, group string) (dirs []string) {
		for ; ; group = path.Dir(group) {
			dirs = append(dirs, path.Join(mount, group))
			if group == "/" || group == "." || group == "" {
				return dirs
			}
		}
	}
	return up(path.Join("sys/fs/cgroup", controller), group1), up("sys/fs/cgroup", group2)
}

// numbers reads a file of numbers separated by spaces. "max" is a number above all others.
func numbers(root fs.FS, name string) []int64 {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	var all []int64
	for _, word := range strings.Fields(string(b)) {
		n, err := strconv.ParseInt(word, 10, 64)
		if word == "max" {
			n, err = unlimited, nil
		}
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// number reads a file of one number.
func number(root fs.FS, name string) (int64, bool) {
	all := numbers(root, name)
	if len(all) != 1 {
		return 0, false
	}
	return all[0], true
}

// field reads the number after the key at the beginning of a line.
func field(root fs.FS, name, key string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == key {
			n, err := strconv.ParseInt(words[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

package flags

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Guide has the parts of help that are not lines of commands and flags: examples, which flags
// are required, and the titles under which flags and commands are listed.
type Guide struct {
	// Titles are the titles for commands, in the order of help.
	Titles []string `yaml:"titles"`
	// Groups are the titles for flags, in the order of help. A command may list a flag under a
	// different title.
	Groups []Group `yaml:"groups"`
	// Commands is keyed by what follows the program's name: "data show".
	Commands map[string]*Entry `yaml:"commands"`
}

// A Group lists flags, or commands, under one title.
type Group struct {
	Title string   `yaml:"title"`
	Names []string `yaml:"names"`
}

// An Entry is the part of a Guide about one command.
type Entry struct {
	// Group is the title under which the command is listed.
	Group string `yaml:"group"`
	// Required lists flags without which the command does not run.
	Required []string `yaml:"required"`
	// Sometimes lists flags that are required in some calls, and says in which.
	Sometimes map[string]string `yaml:"sometimes"`
	// Moved lists flags that this command shows under another title.
	Moved map[string]string `yaml:"moved"`
	// Examples are lines for a shell.
	Examples string `yaml:"examples"`
}

// Annotations that a guide makes: the title of a flag, when it is required, and the required
// flags of a command.
const (
	title    = "title"
	required = "required"
)

const always = "required"

// indented matches the lines of examples that are not empty.
var indented = regexp.MustCompile(`(?m)^.+$`)

// ApplyGuide adds a guide in YAML to the help of a program's commands. A guide that does not fit
// the commands is a mistake in the program.
func ApplyGuide(root *cobra.Command, text []byte) error {
	var g Guide
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&g); err != nil {
		return err
	}
	for _, title := range g.Titles {
		root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
	}
	root.SetUsageFunc(func(c *cobra.Command) error { return g.usage(c) })
	for _, path := range slices.Sorted(maps.Keys(g.Commands)) {
		c, rest, err := root.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			return fmt.Errorf("%s: no such command", path)
		}
		if err := g.apply(c, g.Commands[path]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (g *Guide) apply(c *cobra.Command, e *Entry) error {
	c.Example = indented.ReplaceAllString(strings.TrimSpace(e.Examples), "  $0")
	c.GroupID = e.Group
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[required] = strings.Join(e.Required, " ")
	when := maps.Clone(e.Sometimes)
	if when == nil {
		when = map[string]string{}
	}
	for _, name := range e.Required {
		when[name] = always
	}
	for name, words := range when {
		if err := c.Flags().SetAnnotation(name, required, []string{words}); err != nil {
			return err
		}
	}
	for _, group := range g.Groups {
		for _, name := range group.Names {
			if f := c.Flags().Lookup(name); f != nil {
				if err := c.Flags().SetAnnotation(name, title, []string{group.Title}); err != nil {
					return err
				}
			}
		}
	}
	for name, to := range e.Moved {
		if err := c.Flags().SetAnnotation(name, title, []string{to}); err != nil {
			return err
		}
	}
	return nil
}

// CheckRequired reports the first missing flag that a guide calls required.
func CheckRequired(c *cobra.Command) error {
	return Require(c, strings.Fields(c.Annotations[required])...)
}

// width is the largest width of a line of help.
const width = 120

// usage writes how a command is called: its forms, examples, commands and flags.
func (g *Guide) usage(c *cobra.Command) error {
	w := &bytes.Buffer{}
	fmt.Fprint(w, "Usage:\n")
	if c.Runnable() {
		fmt.Fprintf(w, "  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s COMMAND\n", c.CommandPath())
	}
	if strings.TrimSpace(c.Example) != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", c.Example)
	}
	for _, group := range append(c.Groups(), &cobra.Group{Title: "Other commands:"}) {
		lines := ""
		for _, below := range c.Commands() {
			if below.GroupID == group.ID && (below.IsAvailableCommand() || below.Name() == "help") {
				lines += fmt.Sprintf("  %-*s  %s\n", c.NamePadding(), below.Name(), below.Short)
			}
		}
		if lines != "" {
			fmt.Fprintf(w, "\n%s\n%s", group.Title, lines)
		}
	}
	for _, group := range g.FlagGroups(c) {
		fmt.Fprintf(w, "\n%s:\n%s", group.Title, group.Flags.FlagUsagesWrapped(width))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n%s COMMAND --help tells more about a command.\n", c.CommandPath())
	}
	_, err := w.WriteTo(c.OutOrStderr())
	return err
}

// A FlagGroup holds the flags of a command under one title.
type FlagGroup struct {
	Title string
	Flags *pflag.FlagSet
}

// FlagGroups returns the flags of a command by title, with the flags of all commands last.
// Required flags are marked.
func (g *Guide) FlagGroups(c *cobra.Command) []FlagGroup {
	c.InitDefaultHelpFlag()
	sets := map[string]*pflag.FlagSet{}
	var titles []string
	for _, group := range g.Groups {
		titles = append(titles, group.Title)
	}
	add := func(under string, f *pflag.Flag) {
		if sets[under] == nil {
			sets[under] = pflag.NewFlagSet(under, pflag.ContinueOnError)
		}
		shown := *f
		if when := f.Annotations[required]; len(when) > 0 {
			shown.Usage += " (" + when[0] + ")"
		}
		sets[under].AddFlag(&shown)
	}
	inherited := c.InheritedFlags()
	c.Flags().VisitAll(func(f *pflag.Flag) {
		switch of := f.Annotations[title]; {
		case f.Hidden:
		case f.Name == "help" || f.Name == "version" || inherited.Lookup(f.Name) != nil || c.Parent() == nil:
			add(common, f)
		case len(of) > 0:
			add(of[0], f)
		default:
			add(others, f)
		}
	})
	if c.Parent() != nil {
		inherited.VisitAll(func(f *pflag.Flag) {
			if c.Flags().Lookup(f.Name) == nil {
				add(common, f)
			}
		})
	} else {
		c.PersistentFlags().VisitAll(func(f *pflag.Flag) {
			if sets[common].Lookup(f.Name) == nil {
				add(common, f)
			}
		})
	}
	var all []FlagGroup
	for _, t := range append(titles, others, common) {
		if sets[t] != nil {
			all = append(all, FlagGroup{t, sets[t]})
		}
	}
	return all
}

const (
	others = "Other flags"
	common = "Flags of every command"
)

// Package reviews generates the built-in task: the verdict of a short review.
//
// A review joins two clauses by a concession, and only the main clause decides the verdict. Each
// clause praises or blames one aspect: plainly, under a negation at a distance, or under two
// negations that cancel. In four of five reviews the conceded clause holds the opposite view, so
// neither words nor pairs of words give the verdict away. A model has to find the main clause,
// relate the negations to their opinion, and count them.
//
//	although the room was never dirty , nobody could say the staff was kind   (negative)
//
// Half of the training reviews are a single clause, and half of those say plainly what they
// think. Development reviews all have two clauses. Only their words occur in training. Their
// text, their pairing of clause templates and both pairings of an aspect with an opinion are new.
package reviews

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/settings"
)

// Name is the name of the task.
const Name = "reviews"

// Labels are the class names, in the order of the class indices.
var Labels = []string{"negative", "positive"}

// Options says how many reviews to generate.
type Options struct {
	Train, Dev int
	Seed       uint64
}

// Defaults returns the numbers from which the command line starts.
func Defaults() Options { return Options{Train: 60000, Dev: 3000, Seed: 1} }

// maxReviews is the largest number of reviews that are made at once.
const maxReviews = 1_000_000

// Settings returns the fields as a table of settings.
func (o *Options) Settings() settings.Table {
	number := func(name, field string, n *int, doc string) settings.Setting {
		return settings.Setting{Name: name, Field: field, Value: n, Doc: doc,
			Want: settings.Unless(*n >= 1 && *n <= maxReviews, "1 to %d examples", maxReviews)}
	}
	return settings.Table{
		number("train", "Train", &o.Train, "number of training reviews"),
		number("dev", "Dev", &o.Dev, "number of development reviews"),
		{Name: "seed", Field: "Seed", Value: &o.Seed, Doc: "seed"},
	}
}

// clause is a template of a clause, where @ stands for the aspect and * for the opinion. sign is
// -1 if the clause says the opposite of its opinion.
type clause struct {
	text string
	sign int
}

var clauses = []clause{ // the plain ones first
	{"the @ was *", +1},
	{"i found the @ *", +1},
	{"the @ turned out to be *", +1},
	{"everyone called the @ *", +1},
	{"the @ seemed rather *", +1},
	{"the @ was never *", -1},
	{"nobody could say the @ was *", -1},
	{"i would not call the @ *", -1},
	{"hardly any guest found the @ *", -1},
	{"it would be wrong to call the @ *", -1},
	{"no guest who stayed a week called the @ *", -1},
	{"we never thought that the @ was *", -1},
	{"nobody could say the @ was not *", +1},
	{"no guest ever denied that the @ was *", +1},
	{"i would not say that the @ was never *", +1},
	{"it would be wrong to claim that nobody found the @ *", +1},
}

// plain is the number of clauses without a negation.
const plain = 5

// joins are the concessions: M stands for the main clause and C for the
// conceded one.
var joins = []string{
	"C but M",
	"although C , M",
	"M although C",
	"M even if C",
	"M , though C",
	"C , still M",
	"while C , M",
	"granted that C , M",
}

var aspects = strings.Fields(`room staff food service bed view pool bar lobby garden breakfast dinner
	wine menu beach shower kitchen terrace parking location music decor`)

var opinions = [2][]string{
	strings.Fields(`dirty rude bland slow awful noisy dull shabby dreadful stale poor terrible cramped sloppy`),
	strings.Fields(`clean kind tasty quick lovely quiet charming elegant splendid fresh excellent wonderful spacious flawless`),
}

// opposed is the share of reviews whose conceded clause holds the opposite view of the main
// clause.
const opposed = 0.8

// single is the share of training reviews that are one clause.
const single = 0.5

// Generate returns the training and the development reviews. The same options
// give the same reviews.
func Generate(o Options) (train, dev *data.Dataset) {
	task := data.Task{Name: Name, Labels: Labels, Metric: "accuracy"}
	train = &data.Dataset{Task: task, Examples: generate(o.Train, rand.New(rand.NewPCG(o.Seed, 1)), false)}
	dev = &data.Dataset{Task: task, Examples: generate(o.Dev, rand.New(rand.NewPCG(o.Seed, 2)), true)}
	return train, dev
}

func generate(n int, r *rand.Rand, heldOut bool) []data.Example {
	examples := make([]data.Example, 0, n)
	seen := make(map[string]bool, n)
	for len(examples) < n {
		verdict := r.IntN(2)
		other := verdict
		if r.Float64() < opposed {
			other = 1 - verdict
		}
		main, conceded := drawTemplates(r, heldOut)
		text := joins[r.IntN(len(joins))]
		if !heldOut && r.Float64() < single {
			text = "M"
			if r.IntN(2) == 0 {
				main = r.IntN(plain)
			}
		}
		text = strings.NewReplacer(
			"M", write(r, clauses[main], verdict, heldOut),
			"C", write(r, clauses[conceded], other, heldOut),
		).Replace(text)
		if heldOut && seen[text] {
			continue
		}
		seen[text] = true
		examples = append(examples, data.Example{Text: text, Label: verdict})
	}
	return examples
}

// drawTemplates draws the templates of the main and the conceded clause. Each pairing of
// templates belongs either to the development reviews or to the training reviews.
func drawTemplates(r *rand.Rand, heldOut bool) (main, conceded int) {
	for {
		main, conceded = r.IntN(len(clauses)), r.IntN(len(clauses))
		if pairHeldOut(clauses[main].text, clauses[conceded].text, 8) == heldOut {
			return main, conceded
		}
	}
}

// write returns a clause that praises (verdict 1) or blames (verdict 0).
func write(r *rand.Rand, c clause, verdict int, heldOut bool) string {
	polarity := verdict
	if c.sign < 0 {
		polarity = 1 - verdict
	}
	for {
		aspect := aspects[r.IntN(len(aspects))]
		opinion := opinions[polarity][r.IntN(len(opinions[polarity]))]
		if pairHeldOut(aspect, opinion, 8) == heldOut {
			return strings.NewReplacer("@", aspect, "*", opinion).Replace(c.text)
		}
	}
}

// pairHeldOut says whether a pairing is kept out of the training reviews. One in every `every`
// is.
func pairHeldOut(a, b string, every uint64) bool {
	h := fnv.New64a()
	h.Write([]byte(a + "|" + b))
	x := h.Sum64()
	// The low bits of FNV hardly depend on the last bytes, so they are mixed.
	x ^= x >> 31
	x *= 0x9e3779b97f4a7c15
	return (x>>40)%every == 0
}

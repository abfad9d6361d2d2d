package data_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/skive-ml/skive/data"
)

// A task's file is read from a path by Read, from anything else by Parse.
func ExampleParse() {
	task, err := data.TaskByName("text")
	if err != nil {
		log.Fatal(err)
	}
	file := strings.NewReader("text,label\nthe staff was never rude,good\nthe food was cold,poor\n")
	set, err := data.Parse(file, "reviews.csv", task, data.ReadOptions{RequireLabels: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range set.Examples {
		fmt.Println(e.Text, e.Label)
	}
	fmt.Println(set.Task.Labels, set.Task.Metrics())
	// Output:
	// the staff was never rude 0
	// the food was cold 1
	// [good poor] [accuracy]
}

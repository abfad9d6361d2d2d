package main

func Example() {
	main()
	// Output: parameters: teacher 50402, student 23210, pruned 16178
}

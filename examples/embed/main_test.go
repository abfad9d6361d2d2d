package main

import "os"

func Example() {
	os.Args = []string{"embed", "could you play some jazz for me", "wake me at seven please", "will it rain"}
	main()
	// Output:
	// music
	// alarm
	// weather
}

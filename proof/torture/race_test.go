//go:build race

package torture

// buildFlags build the binary as the tests were built.
var buildFlags = []string{"-race"}

//go:build race

package e2e_test

// buildFlags build the binary as the tests were built.
var buildFlags = []string{"-race"}

//go:build unix

// Command hook is the program that the exec blueprint of a torture run names for each step. It asks the target to do what the step asks for.
package main

import (
	"fmt"
	"os"

	"drydock/proof/torture/target"
)

func main() {
	if err := (target.Target{Folder: os.Getenv(target.EnvFolder)}).Run(os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

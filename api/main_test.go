package api

import (
	"flag"
	"testing"

	"drydock/embedded/redistest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { redistest.Main(m) }

package embedded_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"drydock/embedded"
	"drydock/embedded/redistest"
)

// envParent makes this test binary a parent that starts a server in the given folder, says where, and waits to be killed.
const envParent = "DRYDOCK_TEST_PARENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envParent); dir != "" {
		server, err := embedded.StartServer(context.Background(), embedded.Config{Dir: dir})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(server.Addr())
		select {}
	}
	redistest.Main(m)
}

package locks_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/locks"
)

// envHolder makes this test binary a process that takes the lock "URL KEY", says so, and waits to be killed.
const envHolder = "DRYDOCK_TEST_HOLDER"

// holderTTL is the TTL of that process's lock.
const holderTTL = 500 * time.Millisecond

func TestMain(m *testing.M) {
	if holder := os.Getenv(envHolder); holder != "" {
		url, key, _ := strings.Cut(holder, " ")
		if err := hold(url, key); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		select {}
	}
	redistest.Main(m)
}

func hold(url, key string) error {
	opts, err := locks.NodeOptions(url)
	if err != nil {
		return err
	}
	locker, err := locks.New([]redis.UniversalClient{redis.NewClient(opts)}, locks.Config{TTL: holderTTL})
	if err != nil {
		return err
	}
	_, err = locker.TryLock(context.Background(), key)
	return err
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// demoT lets an example use what tests use.
type demoT struct {
	testing.TB

	cleanups []func()
}

func (t *demoT) Helper()                  {}
func (t *demoT) Context() context.Context { return context.Background() }
func (t *demoT) Cleanup(fn func())        { t.cleanups = append(t.cleanups, fn) }
func (t *demoT) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

func (t *demoT) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// demo starts a Drydock with one host of type "host" and returns its URL.
func demo() (url string, stop func()) {
	t := &demoT{}
	d := newDrydock(t)
	d.pool(d.client(client.Config{}), 1)
	return d.url, func() {
		for _, fn := range slices.Backward(t.cleanups) {
			fn()
		}
	}
}

// Take a lease, work under it, and give it back whatever happens.
func ExampleClient_Acquire() {
	url, stop := demo()
	defer stop()
	ctx := context.Background()

	c, err := client.New(client.Config{Server: url, Author: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ttl := model.Duration(time.Minute) // how long the lease outlives a holder that dies; it is extended meanwhile
	held, err := c.Acquire(ctx, wire.NewLease{Type: "host", TTL: &ttl, Attributes: wire.Attributes{"os": "linux"}}, client.AcquireOptions{
		ReleaseReason: "the tests are done",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer held.Close()

	resource, err := held.Resource(ctx)
	fmt.Println(held.Lease().Status, "on", resource.Name, err)
	// Work with held.Context(): it ends when the lease is lost.

	// Output: active on h1 <nil>
}

// What went wrong is matched with errors.Is.
func ExampleError() {
	url, stop := demo()
	defer stop()
	ctx := context.Background()

	c, err := client.New(client.Config{Server: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.GetLease(ctx, "nope")
	fmt.Println(client.IsNotFound(err))

	_, err = c.CreateLease(ctx, wire.NewLease{Type: "tank"})
	var e *client.Error
	fmt.Println(errors.Is(err, client.ErrUnsatisfiable), errors.As(err, &e) && e.Field == "type", err)
	// Output:
	// true
	// true true type: no blueprint in namespace default makes resources of type tank; known are host
}

// Send a command and see what a worker makes of it.
func ExampleClient_WaitCommand() {
	url, stop := demo()
	defer stop()
	ctx := context.Background()

	c, err := client.New(client.Config{Server: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	held, err := c.Acquire(ctx, wire.NewLease{Type: "host"}, client.AcquireOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer held.Close()

	resource := string(held.Lease().Resource)
	sent, err := c.SendResource(ctx, resource, wire.NewCommand{Command: string(model.CommandReclaim)})
	if err != nil {
		fmt.Println(err)
		return
	}
	done, err := c.WaitCommand(ctx, model.KindResource, resource, sent.Command.ID)
	fmt.Println(done.Outcome, done.Detail, err)
	// Output: refused a lease has a place on it <nil>
}

// Lists are read page by page while one ranges over them.
func ExampleClient_Leases() {
	url, stop := demo()
	defer stop()
	ctx := context.Background()

	c, err := client.New(client.Config{Server: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, owner := range []string{"alice", "bob"} {
		if _, err := c.CreateLease(ctx, wire.NewLease{Type: "host", Owner: owner}); err != nil {
			fmt.Println(err)
			return
		}
	}
	for lease, err := range c.Leases(ctx, client.LeaseFilter{Type: "host"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(lease.Owner)
	}
	// Output:
	// bob
	// alice
}

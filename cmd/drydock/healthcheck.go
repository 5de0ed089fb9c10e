package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/urfave/cli/v3"
)

// healthcheckCommand lets a container without a shell check itself.
func healthcheckCommand() *cli.Command {
	var timeout time.Duration
	var skipVerify bool
	return &cli.Command{
		Name:      "healthcheck",
		Usage:     "ask a health endpoint; exit 0 when it answers 2xx, 1 otherwise",
		ArgsUsage: "URL",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "timeout", Sources: env("timeout"), Value: 2 * time.Second, Destination: &timeout, Usage: "how long to wait"},
			&cli.BoolFlag{
				Name: "skip-verify", Sources: env("skip-verify"), Destination: &skipVerify,
				Usage: "take any certificate: a process that asks itself calls it by an address, for which there is none",
			},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() != 1 {
				return cli.Exit("healthcheck takes one URL", exitUsage)
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, cmd.Args().First(), nil)
			if err != nil {
				return cli.Exit(err.Error(), exitUsage)
			}
			client := &http.Client{Transport: &http.Transport{
				Proxy:           http.ProxyFromEnvironment,
				TLSClientConfig: &tls.Config{InsecureSkipVerify: skipVerify}, //nolint:gosec // nothing secret is sent, and the user asks for it
			}}
			resp, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("healthcheck: %w", err)
			}
			defer resp.Body.Close()
			if resp.StatusCode/100 != 2 {
				return fmt.Errorf("healthcheck: %s answered %s", cmd.Args().First(), resp.Status)
			}
			return nil
		},
	}
}

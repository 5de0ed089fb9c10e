package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// ExtendBy is the command that moves the end of a lease or resource to ttl after it is sent.
func ExtendBy(ttl time.Duration, reason string) wire.NewCommand {
	return extend(fmt.Sprintf(`{"ttl":%q}`, ttl), reason)
}

// ExtendTo is the command that moves the end of a lease or resource to until.
func ExtendTo(until time.Time, reason string) wire.NewCommand {
	return extend(fmt.Sprintf(`{"until":%q}`, until.UTC().Format(time.RFC3339Nano)), reason)
}

func extend(args, reason string) wire.NewCommand {
	return wire.NewCommand{Command: string(model.CommandExtend), Args: json.RawMessage(args), Reason: reason}
}

// of is the path of a list that belongs to an object.
func of(kind model.Kind, id, list string) []string {
	return []string{"v1", string(kind) + "s", id, list}
}

// ListCommands reads a page of an object's commands, oldest first: those consumed, then those that wait.
func (c *Client) ListCommands(ctx context.Context, kind model.Kind, id string, p PageOptions) (wire.Page[wire.Command], error) {
	return list[wire.Command](ctx, c, p.params(), of(kind, id, "commands")...)
}

// Commands goes through an object's commands, oldest first, page by page. It ends with the first error.
func (c *Client) Commands(ctx context.Context, kind model.Kind, id string) iter.Seq2[wire.Command, error] {
	return all(PageOptions{}, func(p PageOptions) (wire.Page[wire.Command], error) { return c.ListCommands(ctx, kind, id, p) })
}

// ListLog reads a page of what happened to an object, oldest first. The id of an entry is a cursor too.
func (c *Client) ListLog(ctx context.Context, kind model.Kind, id string, p PageOptions) (wire.Page[wire.LogEntry], error) {
	return list[wire.LogEntry](ctx, c, p.params(), of(kind, id, "logs")...)
}

// Log goes through what happened to an object, oldest first, page by page. It ends with the first error.
func (c *Client) Log(ctx context.Context, kind model.Kind, id string) iter.Seq2[wire.LogEntry, error] {
	return all(PageOptions{}, func(p PageOptions) (wire.Page[wire.LogEntry], error) { return c.ListLog(ctx, kind, id, p) })
}

// FollowLog is [Client.Log] that goes on: it follows the server's events, or looks for new entries every interval (0 = one second) where it
// cannot have them, and ends when the object is destroyed and all of its log was read.
func (c *Client) FollowLog(ctx context.Context, kind model.Kind, id string, interval time.Duration) iter.Seq2[wire.LogEntry, error] {
	if interval <= 0 {
		interval = time.Second
	}
	return func(yield func(wire.LogEntry, error) bool) {
		changes := c.changesOf(kind, id)
		defer changes.stop()
		for at := (PageOptions{}); ; {
			// First ask whether it is over, then read: so nothing is missed that was written before the end.
			over, err := c.destroyed(ctx, kind, id)
			if err != nil {
				yield(wire.LogEntry{}, err)
				return
			}
			for entry, err := range all(at, func(p PageOptions) (wire.Page[wire.LogEntry], error) { return c.ListLog(ctx, kind, id, p) }) {
				if !yield(entry, err) || err != nil {
					return
				}
				at.After = entry.ID
			}
			if over {
				return
			}
			if err := changes.wait(ctx, max(interval, netInterval), interval); err != nil {
				yield(wire.LogEntry{}, err)
				return
			}
		}
	}
}

// destroyed reports whether nothing more will happen to an object.
func (c *Client) destroyed(ctx context.Context, kind model.Kind, id string) (bool, error) {
	var object struct {
		Status string `json:"status"`
	}
	err := c.get(ctx, nil, &object, "v1", string(kind)+"s", id)
	return object.Status == string(model.LeaseDestroyed), err
}

// Slots lists the slot locks that an object holds.
func (c *Client) Slots(ctx context.Context, kind model.Kind, id string) ([]wire.Slot, error) {
	page, err := list[wire.Slot](ctx, c, nil, of(kind, id, "slots")...)
	return page.Items, err
}

// WaitCommand waits until a command that was sent to an object is consumed, and returns it with its outcome. It ends with the context.
func (c *Client) WaitCommand(ctx context.Context, kind model.Kind, id, command string) (wire.Command, error) {
	changes := c.changesOf(kind, id)
	defer changes.stop()
	for blind := 50 * time.Millisecond; ; blind = min(2*blind, time.Second) {
		for cmd, err := range c.Commands(ctx, kind, id) {
			if err != nil {
				return wire.Command{}, err
			}
			if cmd.ID == command && cmd.Outcome != "" {
				return cmd, nil
			}
		}
		if err := changes.wait(ctx, netInterval, blind); err != nil {
			return wire.Command{}, err
		}
	}
}

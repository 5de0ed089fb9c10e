package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/model"
)

// dataCommand makes the commands for the notes on one kind of object.
func dataCommand(o *clientOptions, kind model.Kind) *cli.Command {
	return &cli.Command{
		Name: "data", Usage: "read and write the notes on a " + string(kind),
		Commands: []*cli.Command{dataGet(o, kind), dataSet(o, kind)},
	}
}

func dataGet(o *clientOptions, kind model.Kind) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "print the notes, as JSON", ArgsUsage: argOf(kind),
		Description: "With -o json it prints the API's own object, which has the rev too.",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			data, err := s.GetData(ctx, kind, id)
			if err != nil {
				return err
			}
			return s.showData(data)
		}),
	}
}

// showData prints notes: their value alone, for people and for pipes.
func (s *session) showData(d wire.Data) error {
	if s.out.json {
		return s.out.object(d)
	}
	if d.Data == nil {
		s.say.notef("There is no data (rev %d).", d.Rev)
		return nil
	}
	return s.out.object(d.Data)
}

func dataSet(o *clientOptions, kind model.Kind) *cli.Command {
	var file string
	var rev int64
	var none, some, remove bool
	return &cli.Command{
		Name: "set", Usage: "write the notes, or remove them", ArgsUsage: argOf(kind) + " [JSON]",
		Description: "A condition that does not hold writes nothing and ends with 5.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Destination: &file, TakesFile: true, Usage: "`FILE` with the JSON; - reads stdin"},
			&cli.BoolFlag{Name: "remove", Destination: &remove, Usage: "remove what is there"},
			&cli.Int64Flag{Name: "if-rev", Destination: &rev, HideDefault: true, Usage: "only if the rev is this `NUMBER`"},
			&cli.BoolFlag{Name: "if-none", Destination: &none, Usage: "only if there is no data"},
			&cli.BoolFlag{Name: "if-some", Destination: &some, Usage: "only if there is data"},
		},
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			args := cmd.Args().Slice()
			ways, conditions := 0, 0
			for _, given := range []bool{len(args) > 1, file != "", remove} {
				if given {
					ways++
				}
			}
			for _, given := range []bool{cmd.IsSet("if-rev"), none, some} {
				if given {
					conditions++
				}
			}
			switch {
			case len(args) == 0 || len(args) > 2 || ways != 1:
				return usage("data set takes one %s and either JSON, --file or --remove", argOf(kind))
			case conditions > 1:
				return usage("--if-rev, --if-none and --if-some exclude each other")
			}
			cond := model.Condition{None: none, Some: some}
			if cmd.IsSet("if-rev") {
				cond.Rev = &rev
			}
			var value json.RawMessage
			switch {
			case file != "":
				text, err := readText(file)
				if err != nil {
					return err
				}
				value = text
			case !remove:
				value = json.RawMessage(args[1])
			}
			if !remove && !json.Valid(value) {
				return model.Invalid("data", "must be JSON; a text is quoted, as '\"text\"'")
			}
			data, err := s.SetData(ctx, kind, args[0], value, cond)
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(data)
			}
			return s.out.sayf("data of %s %s is at rev %d", kind, args[0], data.Rev)
		}),
	}
}

// readText reads a file of at most a megabyte, which is all that a request may hold.
func readText(file string) ([]byte, error) {
	from := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names the file
		if err != nil {
			return nil, model.Invalid("--file", "%s", err)
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, 1<<20))
	if err != nil {
		return nil, model.Invalid("--file", "%s", err)
	}
	return text, nil
}

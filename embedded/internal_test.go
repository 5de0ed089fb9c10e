package embedded

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	log := &tail{max: 10}
	for i := range 100 {
		fmt.Fprintf(log, "%d\n", i)
		if len(log.buf) > 20 {
			t.Fatalf("the buffer holds %d bytes, want at most 20", len(log.buf))
		}
	}
	if got, want := log.String(), "\n97\n98\n99\n"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := log.lastLines(2), "98\n99"; got != want {
		t.Errorf("lastLines(2) = %q, want %q", got, want)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const info = "# Server\r\nprocess_id:7\r\n"
	bulk := fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
	tests := []struct {
		name, reply string
		is          error
		text        string
	}{
		{name: "ready", reply: bulk + "+PONG\r\n"},
		{name: "loading", reply: bulk + "-LOADING Redis is loading the dataset in memory\r\n", is: errLoading},
		{name: "another server", reply: strings.Replace(bulk, ":7", ":8", 1) + "+PONG\r\n", is: errOther},
		{name: "longer process id", reply: "$26\r\n" + strings.Replace(info, ":7", ":77", 1) + "\r\n+PONG\r\n", is: errOther},
		{name: "cut short", reply: "$26\r\n# Server", text: "INFO"},
		{name: "password wanted", reply: "-NOAUTH Authentication required.\r\n", text: "NOAUTH"},
		{name: "not a Redis", reply: "HTTP/1.1 400 Bad Request\r\n\r\n", is: errOther},
		{name: "huge length", reply: "$99999999999\r\n", text: "bad length"},
		{name: "closes at once", text: "INFO"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 100))
				_, _ = conn.Write([]byte(tt.reply))
			}()
			err = probe(t.Context(), l.Addr().String(), 7)
			switch {
			case tt.is == nil && tt.text == "" && err != nil:
				t.Errorf("probe() = %v, want nil", err)
			case tt.is != nil && !errors.Is(err, tt.is):
				t.Errorf("probe() = %v, want %v", err, tt.is)
			case tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)):
				t.Errorf("probe() = %v, want one with %q", err, tt.text)
			}
		})
	}
}

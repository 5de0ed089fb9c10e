//go:build unix

package git

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"drydock/model"
)

// hostRun is a run of the script as sshd would start it: as the leader of a process group.
func hostRun(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe() // stays open
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	if _, err := io.WriteString(stdin, setArguments(args...)+hostScript); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestTheHostStopsByItself: the connection stays open and nobody is heard of again.
func TestTheHostStopsByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	alive, ssh := filepath.Join(dir, "alive"), filepath.Join(dir, "ssh")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ssh, []byte("#!/bin/sh\ntrap '' TERM\nexec 8>'"+alive+"'\nsleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	const url = "git@example.org:repo.git"
	cmd := hostRun(t, []string{"GIT_SSH_COMMAND=" + ssh}, stepPrepare, filepath.Join(dir, "copies"), "work-1", model.NewID(), "1", "1",
		url, (&copies{url: url}).gitConfig(), "ssh", "", "")
	f, err := os.Open(alive) // returns when git's ssh has opened its end
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil { // ends when no process has it open
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the run ended well")
	}
}

// TestHalfAScriptDoesNothing: the connection is lost while the script is sent.
func TestHalfAScriptDoesNothing(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "copies")
	script := setArguments(stepPrepare, folder, "work-1", model.NewID(), "1", "60", "/u", "", "file", "", "") + hostScript
	for _, length := range []int{len(script) / 3, len(script) / 2, strings.LastIndex(script, "}")} {
		cmd := exec.Command("sh", "-s")
		cmd.Stdin = strings.NewReader(script[:length])
		if err := cmd.Run(); err == nil {
			t.Errorf("%d bytes of the script ran", length)
		}
		if _, err := os.Lstat(folder); err == nil {
			t.Errorf("%d bytes of the script made %s", length, folder)
		}
	}
}

// TestTheNotesOfFencesStayShort: a copy may serve any number of leases.
func TestTheNotesOfFencesStayShort(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	notes := filepath.Join(folder, ".work-1.fences")
	var old strings.Builder
	for range 500 {
		old.WriteString(model.NewID() + " 3\n")
	}
	last := model.NewID()
	old.WriteString(last + " 3\n" + "garbage\n" + last + " x\n")
	if err := os.WriteFile(notes, []byte(old.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		fence string
		want  int
	}{{"2", exitStale}, {"9", 0}} {
		cmd := hostRun(t, nil, stepLeave, folder, "work-1", last, tc.fence, "60", "/u", "", "file", "", "")
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != tc.want {
			t.Errorf("fence %s: exit code %d, want %d", tc.fence, got, tc.want)
		}
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != 200 || !strings.HasSuffix(string(text), "\n"+last+" 9\n") {
		t.Errorf("%d lines, want 200 that end with this run's: %q", n, text[max(0, len(text)-100):])
	}
}

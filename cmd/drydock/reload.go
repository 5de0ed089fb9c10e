package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// reloadable is something that was read from files and can be read again. When that fails it stays as it was.
type reloadable interface {
	Files() []string
	Reload() error
}

// watchInterval is how often files are looked at. Looking is cheap, works on every file system and with every way to replace a file.
const watchInterval = time.Second

// watchFiles reads parts again when one of their files has changed and, with onHangUp, all of them on SIGHUP, until ctx ends.
func watchFiles(ctx context.Context, log *slog.Logger, parts []reloadable, onHangUp bool) {
	hup := make(chan os.Signal, 1)
	if onHangUp {
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	// The first look reads everything once more: a file may have changed since it was read at the start.
	last := make([][]os.FileInfo, len(parts))
	for first, all := true, true; ; first = false {
		for i, part := range parts {
			// Looked at before it is read: a change in between is seen the next time.
			now := look(part.Files())
			if all || !sameFiles(last[i], now) {
				reload(log, part, first)
			}
			last[i] = now
		}
		select {
		case <-ctx.Done():
			return
		case <-hup:
			all = true
		case <-tick.C:
			all = false
		}
	}
}

func reload(log *slog.Logger, part reloadable, quiet bool) {
	if err := part.Reload(); err != nil {
		log.Error("cannot read it again; what was read before still counts", "files", part.Files(), "error", err)
	} else if !quiet {
		log.Info("read again", "files", part.Files())
	}
}

// look returns what the file system says of the files; nil for one that is not there.
func look(files []string) []os.FileInfo {
	infos := make([]os.FileInfo, len(files))
	for i, name := range files {
		if info, err := os.Stat(name); err == nil {
			infos[i] = info
		}
	}
	return infos
}

func sameFiles(before, now []os.FileInfo) bool {
	for i, a := range before {
		b := now[i]
		if a == nil || b == nil {
			if a != b {
				return false
			}
			continue
		}
		if !os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size() {
			return false
		}
	}
	return true
}

// certificate is a TLS certificate in two files.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// Files implements reloadable.
func (c *certificate) Files() []string { return []string{c.certFile, c.keyFile} }

// Reload implements reloadable. While only one of the two files is new they do not match, and the old ones count.
func (c *certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	return nil
}

// get is a [tls.Config]'s GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if pair := c.current.Load(); pair != nil {
		return pair, nil
	}
	return nil, errors.New("there is no certificate")
}

package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"drydock/model"
)

// maxFile bounds a token file: about four thousand tokens.
const maxFile = 1 << 20

// Entry is what a token file holds of one token. Several may have one name, so that a new token can be handed out before the old one
// is revoked.
type Entry struct {
	// Name is who shows the token.
	Name string `json:"name"`
	// SHA256 is the hash of the token ([HashToken]) in hexadecimal.
	SHA256 string `json:"sha256"`
	Role   Role   `json:"role"`
	// Namespaces are those in which it has the role; [AllNamespaces] = all.
	Namespaces []string `json:"namespaces"`
	// CreatedAt is for people; it may be missing.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// ExpiresAt ends the token; zero = never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// NewEntry makes a token and its entry. It expires at the given instant; zero = never. Errors are [model.ErrorInvalid] and name the
// field.
func NewEntry(name string, g Grant, now, expiresAt time.Time) (token string, e Entry, err error) {
	token = NewToken()
	hash := HashToken(token)
	e = Entry{
		Name: name, SHA256: hex.EncodeToString(hash[:]), Role: g.Role, Namespaces: g.Namespaces,
		CreatedAt: now.UTC().Truncate(time.Second), ExpiresAt: expiresAt.UTC().Truncate(time.Second),
	}
	return token, e, e.check()
}

// ID names the entry among those of the same name: the beginning of the hash, which gives nothing of the token away.
func (e Entry) ID() string { return e.SHA256[:min(len(e.SHA256), 12)] }

// Expired reports whether the token has ended.
func (e Entry) Expired(now time.Time) bool { return !e.ExpiresAt.IsZero() && !now.Before(e.ExpiresAt) }

func (e Entry) grant() Grant { return Grant{e.Role, e.Namespaces} }

// check checks an entry. Names are as strict as those of namespaces: they cannot be mistaken for an OIDC name with its prefix.
func (e Entry) check() error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if err := model.CheckName("name", e.Name); err != nil {
		return err
	}
	if _, err := e.hash(); err != nil {
		return err
	}
	return e.grant().check()
}

func (e Entry) hash() (hash [sha256.Size]byte, err error) {
	raw, err := hex.DecodeString(e.SHA256)
	if err != nil || len(raw) != len(hash) || strings.ToLower(e.SHA256) != e.SHA256 {
		return hash, model.Invalid("sha256", "must be %d hexadecimal digits in lower case: the SHA-256 of the whole token", 2*len(hash))
	}
	copy(hash[:], raw)
	return hash, nil
}

// DecodeEntries reads the text of a token file: a list of entries in YAML, of which JSON is a part. No text is no entries. Errors say
// which entry breaks which rule; they quote no hash.
func DecodeEntries(text []byte) ([]Entry, error) {
	var entries []Entry
	if err := yaml.UnmarshalStrict(text, &entries); err != nil {
		return nil, model.Errorf(model.ErrorInvalid, "must be a list of tokens in YAML or JSON: %s", oneLine(err))
	}
	seen := make(map[string]int, len(entries))
	for i, e := range entries {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("token %d: %w", i+1, err)
		}
		if before, ok := seen[e.SHA256]; ok {
			return nil, model.Errorf(model.ErrorInvalid, "token %d: has the sha256 of token %d", i+1, before)
		}
		seen[e.SHA256] = i + 1
	}
	return entries, nil
}

// oneLine makes one line of an error of the YAML reader.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	const limit = 300
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// fileHeader stands above the entries in files that we write.
const fileHeader = "# Tokens for the Drydock API. Written by `drydock token`; a running server notices changes by itself.\n"

// encodeEntries writes the text of a token file.
func encodeEntries(entries []Entry) ([]byte, error) {
	if len(entries) == 0 {
		return []byte(fileHeader + "[]\n"), nil
	}
	text, err := yaml.Marshal(entries)
	return append([]byte(fileHeader), text...), err
}

// ReadEntries reads a token file.
func ReadEntries(path string) ([]Entry, error) {
	f, err := os.Open(path) //nolint:gosec // the file is the one that the operator names
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, model.Errorf(model.ErrorInvalid, "token file %s: must not be larger than %d bytes", path, maxFile)
	}
	entries, err := DecodeEntries(text)
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return entries, nil
}

// EditEntries replaces the entries of a token file by what change makes of them. Who reads the file sees the old text or the new one,
// never a part, and no two edits lose each other's change. A file that does not exist yet is made, for the user's eyes only; one that
// does keeps its mode and, where we may give it, its owner. Comments in it are lost.
func EditEntries(path string, change func([]Entry) ([]Entry, error)) error {
	// A link stays what it is, and its target is replaced.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("lock the folder of token file %s: %w", path, err)
	}
	defer unlock()
	entries, err := ReadEntries(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if entries, err = change(entries); err != nil {
		return err
	}
	text, err := encodeEntries(entries)
	if err != nil {
		return err
	}
	if len(text) > maxFile {
		return model.Errorf(model.ErrorInvalid, "token file %s: would be larger than %d bytes; revoke what is not needed", path, maxFile)
	}
	return replaceFile(path, text)
}

// replaceFile writes a file anew by renaming a complete one over it.
func replaceFile(path string, text []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if info, err := os.Stat(path); err == nil {
		keepOwner(tmp, info)
		if err := tmp.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err = io.Copy(tmp, bytes.NewReader(text)); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync/atomic"
	"time"

	"drydock/model"
)

// TokenFile is an [Authenticator] by the tokens of a file.
type TokenFile struct {
	path string
	now  func() time.Time
	// known is replaced as a whole when the file is read again.
	known atomic.Pointer[[]knownToken]
}

// knownToken is an entry, made ready to be compared with.
type knownToken struct {
	hash  [sha256.Size]byte
	entry Entry
}

// OpenTokenFile reads a token file. A file without tokens is fine: it lets nobody in.
func OpenTokenFile(path string) (*TokenFile, error) {
	f := &TokenFile{path: path, now: time.Now}
	return f, f.Reload()
}

// Reload reads the file again. When it cannot be read or breaks a rule, the tokens stay as they were.
func (f *TokenFile) Reload() error {
	entries, err := ReadEntries(f.path)
	if err != nil {
		return err
	}
	known := make([]knownToken, len(entries))
	for i, e := range entries {
		hash, err := e.hash()
		if err != nil {
			return err
		}
		known[i] = knownToken{hash, e}
	}
	f.known.Store(&known)
	return nil
}

// Files names what [TokenFile.Reload] reads.
func (f *TokenFile) Files() []string { return []string{f.path} }

// Len returns how many tokens there are, expired ones among them.
func (f *TokenFile) Len() int { return len(*f.known.Load()) }

// Authenticate implements [Authenticator].
func (f *TokenFile) Authenticate(_ context.Context, credential string) (*Identity, error) {
	if !isToken(credential) {
		return nil, errUnknown
	}
	hash := HashToken(credential)
	known := *f.known.Load()
	// Every entry is compared, and each in constant time: how long it takes tells nothing about which hash was nearly right. Their
	// number is small, and a comparison takes a few nanoseconds.
	found := -1
	for i := range known {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], known[i].hash[:]), i, found)
	}
	if found < 0 {
		return nil, errUnknown
	}
	e := known[found].entry
	if e.Expired(f.now()) {
		return nil, errExpired
	}
	return &Identity{Name: e.Name, Kind: KindToken, ID: e.ID(), Grants: []Grant{e.grant()}}, nil
}

var _ Authenticator = (*TokenFile)(nil)

// errNoToken is for edits that find nothing to change.
func errNoToken(what string) error {
	return model.Errorf(model.ErrorNotFound, "no token has the name or id %s", model.Quote(what))
}

// Revoke removes the tokens that have the given name or id from a token file, and returns them.
func Revoke(path, nameOrID string) (revoked []Entry, err error) {
	err = EditEntries(path, func(entries []Entry) (kept []Entry, err error) {
		for _, e := range entries {
			if e.Name == nameOrID || e.ID() == nameOrID {
				revoked = append(revoked, e)
			} else {
				kept = append(kept, e)
			}
		}
		if len(revoked) == 0 {
			return nil, errNoToken(nameOrID)
		}
		return kept, nil
	})
	return revoked, err
}

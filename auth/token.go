package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// TokenPrefix begins every token of ours, so that people and secret scanners know one when they see it.
const TokenPrefix = "ddk_"

// tokenBytes is the size of a token's secret.
const tokenBytes = 32

// NewToken makes a token: [TokenPrefix] and 32 random bytes in hexadecimal.
func NewToken() string {
	var secret [tokenBytes]byte
	_, _ = rand.Read(secret[:]) // crypto/rand does not fail, it ends the program
	return TokenPrefix + hex.EncodeToString(secret[:])
}

// HashToken returns what is stored of a token.
//
// A plain SHA-256, without salt and without the slowness of a password hash: those make up for secrets that people think of. Nobody
// guesses 256 random bits, however fast he may try, and no two tokens are the same. For that reason only tokens that look like those of
// [NewToken] are accepted, so that nobody comes to store the hash of a password here.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// isToken reports whether s could have come from [NewToken].
func isToken(s string) bool {
	digits, ok := strings.CutPrefix(s, TokenPrefix)
	if !ok || len(digits) != 2*tokenBytes {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil && strings.ToLower(digits) == digits
}

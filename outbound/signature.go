package outbound

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of a request, beside the usual ones.
const (
	// HeaderSignature is "t=<seconds since 1970>,v1=<hex of HMAC-SHA256>", see [Sign].
	HeaderSignature = "Drydock-Signature"
	// HeaderIdempotencyKey is the same for each attempt to send a message. Unlike the body, headers other than the signature are not
	// signed.
	HeaderIdempotencyKey = "Idempotency-Key"
)

// Tolerance is how far a signature's time may be from the receiver's for [Verify]. It bounds how long a recorded request
// can be played again, and allows for clocks that differ.
const Tolerance = 5 * time.Minute

// Sign returns the signature of a body sent at an instant: the HMAC-SHA256, keyed with the secret, of the time in seconds,
// a dot, and the body.
func Sign(secret, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

// Verify checks the signature header of a received body.
func Verify(secret, body []byte, signature string, now time.Time) error {
	var t string
	var sums [][]byte
	for field := range strings.SplitSeq(signature, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "t":
			t = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || len(sums) == 0 {
		return errors.New("the signature is missing or malformed")
	}
	want := mac(secret, t, body)
	for _, sum := range sums {
		if !hmac.Equal(sum, want) {
			continue
		}
		if age := now.Sub(time.Unix(seconds, 0)); age > Tolerance || age < -Tolerance {
			return fmt.Errorf("the signature is %s old", age.Round(time.Second))
		}
		return nil
	}
	return errors.New("the signature does not match")
}

func mac(secret []byte, t string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(t))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

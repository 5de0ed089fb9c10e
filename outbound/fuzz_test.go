package outbound_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"drydock/model"
	"drydock/outbound"
)

// FuzzVerify: a signature that was not made with the secret for just this body never passes, and one that was does, whatever else stands
// in the header.
func FuzzVerify(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	good := outbound.Sign([]byte(secret), []byte("{}"), now)
	for _, seed := range []string{"", good, good + ",v1=00", "t=1700000000", "v1=00,t=", "t=1700000000,v1=zz", "t=+1700000000,v1=00", "t=9223372036854775807,v1=00", "v1", ","} {
		f.Add([]byte("{}"), seed)
	}
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		mine := outbound.Sign([]byte(secret), body, now)
		_, sum, _ := strings.Cut(mine, "v1=")
		if outbound.Verify([]byte(secret), body, header, now) == nil && !strings.Contains(strings.ToLower(header), sum) && !strings.Contains(header, "t=") {
			t.Errorf("%q passes for a signature of %q", header, body)
		}
		if outbound.Verify([]byte("another secret of the tests"), body, mine, now) == nil {
			t.Errorf("%q passes with another secret", mine)
		}
		if outbound.Verify([]byte(secret), append([]byte("x"), body...), mine, now) == nil {
			t.Errorf("%q passes for another body", mine)
		}
		if err := outbound.Verify([]byte(secret), body, "x="+strings.ReplaceAll(header, "t=", "")+","+mine, now); err != nil {
			t.Errorf("%q with %q before it: %v", mine, header, err)
		}
		if outbound.Verify([]byte(secret), body, mine, now.Add(outbound.Tolerance+time.Second)) == nil {
			t.Errorf("%q passes when it is too old", mine)
		}
	})
}

// FuzzCheckURL: a URL is refused without being quoted, or a request can be made to it, and an address in it is public.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.org/hooks?x=1", "http://127.0.0.1/", "http://[::1]:80/", "http://[::ffff:10.0.0.1]/", "https://u:hunter2@example.org/", "https://example.org/#x", "ftp://x/", "//x/",
		"http:x", "http://", "http://a b/", "http://a/\u0085", "http://[fe80::1%25eth0]/", "http://0177.0.0.1/", "http://8.8.8.8/", "https://example.org:99999/", "http://:80/", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := outbound.AddressPolicy{}.CheckURL("url", text)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid || !strings.HasPrefix(err.Error(), "url: ") || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 500 {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(text) > outbound.MaxURLLength ||
			strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q passes", text)
		}
		if _, err := http.NewRequestWithContext(t.Context(), http.MethodPost, text, http.NoBody); err != nil {
			t.Errorf("%q passes, and no request can be made to it: %v", text, err)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			if addr = addr.Unmap(); addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() {
				t.Errorf("%q passes for public", text)
			}
		}
		if (outbound.AddressPolicy{Private: true}).CheckURL("url", text) != nil {
			t.Errorf("%q is refused where more is allowed", text)
		}
	})
}

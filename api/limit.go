package api

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"drydock/auth"
	"drydock/model"
)

// The headers of draft-ietf-httpapi-ratelimit-headers-10, not yet an RFC. They are structured fields: a policy's name, its quota q in a
// window of w seconds, what remains of it, and in how many seconds t it is whole again. The case is what net/http makes of RateLimit.
const (
	headerRateLimit       = "Ratelimit"
	headerRateLimitPolicy = "Ratelimit-Policy"
)

// limiter counts the requests of each caller: a bucket that holds burst requests and is filled with rate per second.
type limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	swept   time.Time
}

// maxBuckets bounds the memory of a limiter. Callers beyond it share one bucket until others have been quiet for a while.
const maxBuckets = 100_000

// newLimiter returns a limiter; nil, which limits nothing, when perSecond is 0.
func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	if perSecond <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = max(1, int(math.Ceil(2*perSecond)))
	}
	return &limiter{rate: rate.Limit(perSecond), burst: burst, now: now, buckets: map[string]*rate.Limiter{}}
}

// bucket returns the bucket of a caller.
func (l *limiter) bucket(caller string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buckets[caller] == nil && now.Sub(l.swept) > max(time.Second, l.after(float64(l.burst))) {
		l.swept = now
		for other, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.burst) {
				delete(l.buckets, other) // a full bucket is as good as a new one
			}
		}
	}
	if l.buckets[caller] == nil && len(l.buckets) >= maxBuckets {
		caller = ""
	}
	if l.buckets[caller] == nil {
		l.buckets[caller] = rate.NewLimiter(l.rate, l.burst)
	}
	return l.buckets[caller]
}

// after returns how long it takes until so many requests are allowed again.
func (l *limiter) after(requests float64) time.Duration {
	return time.Duration(max(0, requests) / float64(l.rate) * float64(time.Second))
}

// quota is what a caller has left.
type quota struct {
	ok        bool
	remaining int
	// full and next are how long it takes until the quota is whole, and until the next request is allowed.
	full, next time.Duration
}

// take counts a request.
func (l *limiter) take(caller string) quota {
	now := l.now()
	b := l.bucket(caller, now)
	ok := b.AllowN(now, 1)
	left := max(0, b.TokensAt(now))
	return quota{ok: ok, remaining: int(left), full: l.after(float64(l.burst) - left), next: l.after(1 - left)}
}

// limit counts a request of an identity, or of an address when there is none, and refuses it when there are too many.
func (s *Server) limit(c echo.Context, who *auth.Identity) error {
	if s.limiter == nil {
		return nil
	}
	policy, caller := "address", "address "+network(c.RealIP())
	if who != nil {
		policy, caller = "token", string(who.Kind)+" "+who.ID
	}
	q := s.limiter.take(caller)
	h := c.Response().Header()
	h.Set(headerRateLimitPolicy, fmt.Sprintf("%q;q=%d;w=%d", policy, s.limiter.burst, seconds(s.limiter.after(float64(s.limiter.burst)))))
	h.Set(headerRateLimit, fmt.Sprintf("%q;r=%d;t=%d", policy, q.remaining, seconds(q.full)))
	if q.ok {
		return nil
	}
	h.Set(echo.HeaderRetryAfter, strconv.Itoa(max(1, seconds(q.next))))
	return model.Errorf(errorRateLimited, "too many requests from this %s; the headers say how many are allowed", policy)
}

// seconds rounds up: who comes back after that long is not too early.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// network returns what counts as one address: an IPv6 subscriber has a whole /64.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	const subscriber = 64
	prefix, err := ip.WithZone("").Prefix(subscriber)
	if err != nil {
		return address
	}
	return prefix.String()
}

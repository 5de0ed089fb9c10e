package bench

import (
	"net/http"
	"time"
)

// httpClient keeps as many connections as there are requests under way: dialing is not what is measured.
func httpClient(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns: 4 * connections, MaxIdleConnsPerHost: 4 * connections, IdleConnTimeout: time.Minute, DisableCompression: true,
	}}
}

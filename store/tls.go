package store

import "crypto/tls"

// tlsConfig is what rediss+sentinel:// uses; go-redis makes its own for rediss://.
func tlsConfig() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

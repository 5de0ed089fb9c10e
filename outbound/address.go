package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// AddressPolicy says which addresses a webhook may be sent to. It is checked for each connection, after the name has been
// resolved, so that neither a name that points inwards nor one that changes its mind gets through. The zero value allows
// public addresses only.
type AddressPolicy struct {
	// Private allows every address, private and loopback ones included.
	Private bool
	// Allow are further networks that are allowed.
	Allow []netip.Prefix
}

// special are the networks, beside those that package netip knows, that are not the public internet.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // these four carry IPv4 addresses inside
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("::/96"),
}

// AddressError says that the policy forbids an address.
type AddressError struct{ addr netip.Addr }

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("the address %s is not public, and this server sends webhooks to public addresses only", e.addr)
}

func (p AddressPolicy) check(addr netip.Addr) error {
	if p.Private {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	holds := func(n netip.Prefix) bool { return n.Contains(addr) }
	if slices.ContainsFunc(p.Allow, holds) {
		return nil
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || slices.ContainsFunc(special, holds) {
		return &AddressError{addr: addr}
	}
	return nil
}

// control is a [net.Dialer]'s Control: the last look at an address before the connection is made.
func (p AddressPolicy) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("parse the address: %w", err)
	}
	return p.check(ap.Addr())
}

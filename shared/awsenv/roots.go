package awsenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// rootsPEM are the roots that AWS and LinkedIn have their certificates from:
// Amazon Trust Services (https://www.amazontrust.com/repository/) and
// DigiCert. To read these few costs a hundredth of reading a distribution's
// hundred and fifty at the first call, most of a cold start at 128 MB.
//
//go:embed roots.pem
var rootsPEM []byte

func ownRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(rootsPEM)
	return pool
}

// dialer makes TLS connections that trust roots, and where these do not do,
// the machine's: a service that moves to another authority is slower then, and
// not down. nil roots: the machine's alone.
type dialer struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	roots   *x509.CertPool
	machine atomic.Bool // the roots did not do: begin with the machine's
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	if d.roots != nil && !d.machine.Load() {
		c, err := d.handshake(ctx, network, address, d.roots)
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
			return c, err
		}
	}
	c, err := d.handshake(ctx, network, address, nil)
	if err == nil && d.roots != nil {
		d.machine.Store(true)
	}
	return c, err
}

func (d *dialer) handshake(ctx context.Context, network, address string, roots *x509.CertPool) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

package awsenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The roots that AWS has its certificates from (Amazon Trust Services,
// https://www.amazontrust.com/repository/), and LinkedIn. To read these few costs
// a hundredth of reading a distribution's hundred and fifty at the first call, most
// of a cold start at 128 MB; a function that calls AWS alone reads but the first.
var (
	//go:embed amazon.pem
	amazonPEM []byte
	//go:embed digicert.pem
	digicertPEM []byte
)

// roots are some authorities, read when they are first needed.
type roots struct {
	pool    func() *x509.CertPool
	machine atomic.Bool // they did not do: begin with the machine's
}

func newRoots(pem []byte) *roots {
	return &roots{pool: sync.OnceValue(func() *x509.CertPool {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		return pool
	})}
}

// dialer makes TLS connections that trust the roots of whom it calls, and where
// these do not do, the machine's: a service that moves to another authority is
// slower then, and not down. nil roots: the machine's alone.
type dialer struct {
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	aws, others *roots
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	roots := d.others
	if strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".api.aws") {
		roots = d.aws
	}
	if roots != nil && !roots.machine.Load() {
		c, err := d.handshake(ctx, network, address, host, roots.pool())
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
			return c, err
		}
	}
	c, err := d.handshake(ctx, network, address, host, nil)
	if err == nil && roots != nil {
		roots.machine.Store(true)
	}
	return c, err
}

func (d *dialer) handshake(ctx context.Context, network, address, host string, pool *x509.CertPool) (net.Conn, error) {
	raw, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	c := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

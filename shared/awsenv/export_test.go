package awsenv

import (
	"context"
	"crypto/x509"
	"net"
)

// AmazonPEM and DigicertPEM are the roots that are built in.
var AmazonPEM, DigicertPEM = amazonPEM, digicertPEM

// NewRoots reads such roots.
var NewRoots = newRoots

// Pool is what they are.
func (r *roots) Pool() *x509.CertPool { return r.pool() }

// DialTLS makes a connection as Transport does, with other roots.
func DialTLS(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), aws, others []byte, address string) (net.Conn, error) {
	d := &dialer{dial: dial, aws: newRoots(aws), others: newRoots(others)}
	return d.dialTLS(ctx, "tcp", address)
}

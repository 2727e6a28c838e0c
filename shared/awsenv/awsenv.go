// Package awsenv is what Lambda gives a function to reach AWS with, taken from
// the environment by hand: config.LoadDefaultConfig would cost a fifth of a
// cold start and 2 MB of binary to look for what is never there.
package awsenv

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config is an aws.Config of Lambda's own variables: AWS_REGION, the role's
// credentials, and a client that follows no redirect. Endpoint says where a
// service is.
func Config(getenv func(string) string, transport http.RoundTripper) (aws.Config, error) {
	id, key := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	region := getenv("AWS_REGION")
	if id == "" || key == "" || region == "" {
		return aws.Config{}, errors.New("AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not all set: this is not a Lambda function")
	}
	return aws.Config{
		Region: region,
		// They outlive the environment that they are given to.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: key, SessionToken: getenv("AWS_SESSION_TOKEN"), Source: "environment"}, nil
		}),
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: stay},
	}, nil
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Endpoint is where a service is to be called, named as in its variable:
// AWS_ENDPOINT_URL_DYNAMODB for "DYNAMODB", else AWS_ENDPOINT_URL; "" for the
// Region's own.
func Endpoint(getenv func(string) string, service string) string {
	return cmp.Or(getenv("AWS_ENDPOINT_URL_"+service), getenv("AWS_ENDPOINT_URL"))
}

// Transport reaches AWS and LinkedIn: it trusts the roots of both first, and
// the machine's where they do not do. It asks no proxy. Connections stay open
// longer than the minute between two passes, and one that broke while the
// function was frozen is made anew by the next attempt of shared/awsjson: whoever may not repeat
// a call clones the transport with a shorter IdleConnTimeout.
func Transport(getenv func(string) string) *http.Transport {
	d := &dialer{dial: (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext}
	if getenv("SSL_CERT_FILE") == "" && getenv("SSL_CERT_DIR") == "" { // else whoever set them knows better
		d.aws, d.others = newRoots(amazonPEM), newRoots(digicertPEM)
	}
	return &http.Transport{
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           200,
		MaxIdleConnsPerHost:    100, // a pass works on 96 grants at once, and a handshake costs more than its call
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

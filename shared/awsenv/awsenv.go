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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config is an aws.Config of Lambda's own variables: AWS_REGION, the role's
// credentials, and AWS_ENDPOINT_URL with AWS_ENDPOINT_URL_<SERVICE> above it.
//
// Calls have the SDK's standard retries: three attempts with jittered
// back-off, for throttling, 5xx and broken connections. A conditional write
// that is repeated may refuse itself; revisions tell. What bounds a call is
// its context.
func Config(getenv func(string) string, transport http.RoundTripper) (aws.Config, error) {
	id, key := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	region := getenv("AWS_REGION")
	if id == "" || key == "" || region == "" {
		return aws.Config{}, errors.New("AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not all set: this is not a Lambda function")
	}
	c := aws.Config{
		Region: region,
		// They outlive the environment that they are given to.
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: key, SessionToken: getenv("AWS_SESSION_TOKEN"), Source: "environment"}, nil
		}),
		HTTPClient:       &http.Client{Transport: transport, CheckRedirect: stay},
		RetryMode:        aws.RetryModeStandard,
		RetryMaxAttempts: 3,
		ConfigSources:    []any{endpoints(getenv)},
	}
	if url := getenv("AWS_ENDPOINT_URL"); url != "" {
		c.BaseEndpoint = &url
	}
	return c, nil
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// endpoints tells the SDK the address of a service that has one of its own.
type endpoints func(string) string

// Endpoint is where a service is to be called, named as in its variable:
// AWS_ENDPOINT_URL_DYNAMODB for "DYNAMODB", else AWS_ENDPOINT_URL; "" for the
// Region's own.
func Endpoint(getenv func(string) string, service string) string {
	return cmp.Or(getenv("AWS_ENDPOINT_URL_"+service), getenv("AWS_ENDPOINT_URL"))
}

// GetServiceBaseEndpoint finds AWS_ENDPOINT_URL_SECRETS_MANAGER for "Secrets Manager".
func (getenv endpoints) GetServiceBaseEndpoint(_ context.Context, service string) (string, bool, error) {
	url := getenv("AWS_ENDPOINT_URL_" + strings.ToUpper(strings.ReplaceAll(service, " ", "_")))
	return url, url != "", nil
}

// Transport reaches AWS and LinkedIn: it trusts the roots of both first, and
// the machine's where they do not do. It asks no proxy. Connections stay open
// longer than the minute between two passes, and one that broke while the
// function was frozen is made anew by the SDK's retry: whoever may not repeat
// a call clones the transport with a shorter IdleConnTimeout.
func Transport(getenv func(string) string) *http.Transport {
	d := &dialer{dial: (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext}
	if getenv("SSL_CERT_FILE") == "" && getenv("SSL_CERT_DIR") == "" { // else whoever set them knows better
		d.roots = ownRoots()
	}
	return &http.Transport{
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    20,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

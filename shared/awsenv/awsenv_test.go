package awsenv_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/awsenv"
)

func from(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

var lambda = map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "ASIA1", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "session"}

func with(more ...string) func(string) string {
	m := map[string]string{}
	for k, v := range lambda {
		m[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return from(m)
}

func TestConfigIsLambdasEnvironment(t *testing.T) {
	c, err := awsenv.Config(with(), http.DefaultTransport)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Credentials.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != "ASIA1" || got.SecretAccessKey != "key" || got.SessionToken != "session" {
		t.Errorf("got %+v, %v", got, err)
	}
	if c.Region != "eu-central-1" || c.BaseEndpoint != nil {
		t.Errorf("got %+v", c)
	}
	for name := range lambda {
		if name == "AWS_SESSION_TOKEN" {
			continue
		}
		if _, err := awsenv.Config(with(name, ""), http.DefaultTransport); err == nil || strings.Contains(err.Error(), "key") {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

func TestEndpointsCanBeMoved(t *testing.T) {
	for _, tt := range []struct{ all, one, want string }{
		{"", "", ""},
		{"http://all:1", "", "http://all:1"},
		{"", "http://sm:2", "http://sm:2"},
		{"http://all:1", "http://sm:2", "http://sm:2"},
	} {
		getenv := with("AWS_ENDPOINT_URL", tt.all, "AWS_ENDPOINT_URL_SECRETS_MANAGER", tt.one, "AWS_ENDPOINT_URL_DYNAMODB", "http://another:3")
		if got := awsenv.Endpoint(getenv, "SECRETS_MANAGER"); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestTheRootsAreGoodForYears(t *testing.T) {
	soon := time.Now().AddDate(2, 0, 0)
	for name, text := range map[string][]byte{"Amazon": awsenv.AmazonPEM, "DigiCert": awsenv.DigicertPEM} {
		pool := x509.NewCertPool()
		n := 0
		for rest := text; ; n++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !c.IsCA || c.NotAfter.Before(soon) {
				t.Errorf("%s ends on %s", c.Subject, c.NotAfter)
			}
			if o := c.Subject.Organization[0]; !strings.HasPrefix(o, name) && !strings.HasPrefix(o, "Starfield") {
				t.Errorf("%s is among the roots of %s", c.Subject, name)
			}
			pool.AddCert(c)
		}
		if n != 5 || !awsenv.NewRoots(text).Pool().Equal(pool) {
			t.Errorf("%s: %d roots, or the pool is of others", name, n)
		}
	}
}

// A host of AWS is held against Amazon's roots, and any other against the rest;
// both fall back on the machine's by themselves.
func TestEachHostHasItsRoots(t *testing.T) {
	cert, root := authority(t, "dynamodb.eu-central-1.amazonaws.com", "dynamodb.eu-central-1.api.aws", "www.linkedin.com", "evilamazonaws.com")
	s, handshakes := serve(t, cert, http.NotFoundHandler())
	toServer := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
	}
	for _, tt := range []struct {
		aws, others []byte
		host        string
		good        bool
	}{
		{root, nil, "dynamodb.eu-central-1.amazonaws.com", true},
		{root, nil, "dynamodb.eu-central-1.api.aws", true},
		{root, nil, "www.linkedin.com", false},
		{root, nil, "evilamazonaws.com", false},
		{nil, root, "www.linkedin.com", true},
		{nil, root, "dynamodb.eu-central-1.amazonaws.com", false},
	} {
		handshakes.Store(0)
		c, err := awsenv.DialTLS(t.Context(), toServer, tt.aws, tt.others, tt.host+":443")
		if (err == nil) != tt.good || tt.good && handshakes.Load() != 1 {
			t.Errorf("%s: %v after %d handshakes, want good %t", tt.host, err, handshakes.Load(), tt.good)
		}
		if err == nil {
			c.Close()
		}
	}
}

// authority makes a server's certificate and the root it is from.
func authority(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
}

// serve answers by HTTP/2 too, and counts the handshakes that are begun.
func serve(t *testing.T, cert tls.Certificate, h http.Handler) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	handshakes := new(atomic.Int32)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		handshakes.Add(1)
		return nil, nil
	}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, handshakes
}

// TestTheMachinesRootsDoWhereOursDoNot runs itself again with a machine's
// store of the test's own: crypto/x509 reads it once in a process.
func TestTheMachinesRootsDoWhereOursDoNot(t *testing.T) {
	cert, root := authority(t)
	s, handshakes := serve(t, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root.pem"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	for store, want := range map[string]string{dir: "HTTP/2.0", t.TempDir(): "unknown authority"} {
		for _, told := range []string{"", "yes"} { // whether Client is told of the store: then ours do not count
			cmd := exec.Command(os.Args[0], "-test.run=TestChild")
			cmd.Env = []string{"CHILD=" + s.URL, "TOLD=" + told, "SSL_CERT_DIR=" + store, "SSL_CERT_FILE=/dev/null"}
			handshakes.Store(0)
			out, _ := cmd.CombinedOutput()
			if got := handshakes.Load(); store == dir && told == "" && got != 3 {
				t.Errorf("%d handshakes for two connections, want 3: ours are asked once", got)
			}
			if strings.Count(string(out), want) != 2 {
				t.Errorf("told %q, want %q twice: %s", told, want, out)
			}
		}
	}
}

func TestChild(t *testing.T) {
	url := os.Getenv("CHILD")
	if url == "" {
		t.Skip("run by TestTheMachinesRootsDoWhereOursDoNot")
	}
	getenv := os.Getenv
	if os.Getenv("TOLD") == "" {
		getenv = from(nil)
	}
	transport := awsenv.Transport(getenv)
	c := &http.Client{Transport: transport}
	for range 2 {
		r, err := c.Post(url, "text/plain", strings.NewReader("body"))
		if err != nil {
			fmt.Println(err)
			continue
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		fmt.Println(string(b))
		transport.CloseIdleConnections()
	}
}

func TestOursAreAskedFirst(t *testing.T) {
	cert, _ := authority(t)
	s, handshakes := serve(t, cert, http.NotFoundHandler())
	for want, getenv := range map[int]func(string) string{2: from(nil), 1: from(map[string]string{"SSL_CERT_FILE": "x"})} {
		handshakes.Store(0)
		if _, err := (&http.Client{Transport: awsenv.Transport(getenv)}).Get(s.URL); err == nil {
			t.Error("a foreign certificate was taken")
		}
		if got := int(handshakes.Load()); got != want {
			t.Errorf("got %d handshakes, want %d", got, want)
		}
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	s := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer s.Close()
	c, err := awsenv.Config(with(), awsenv.Transport(from(nil)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.HTTPClient.Do(r)
	if err != nil || got.StatusCode != http.StatusFound {
		t.Fatalf("got %v, %v", got, err)
	}
	got.Body.Close()
}

package bench_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/aws/awstest"
)

// member and sessionID are the one who is signed in.
const (
	clientID  = "77benchkeepin0"
	sessionID = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
)

var member = keeper.NewMemberID(clientID, "ada-sub")

// grant is one as a sign-in leaves it, with tokens of so many characters.
func grant(now time.Time, tokens ...int) keeper.Grant {
	token := func(n int, end time.Time) keeper.Token {
		return keeper.Token{Sealed: make([]byte, n+sealing), IssuedAt: now.Add(-time.Hour), ExpiresAt: end, ProvenAt: now.Add(-time.Minute)}
	}
	g := keeper.Grant{
		Member: member, Subject: "782bbtaQuE", Generation: rand.Text(), Status: keeper.Active, Rev: rand.Text(),
		Profile: keeper.Profile{Name: "Ada Lovelace", Email: "ada@example.com", Picture: "https://media.licdn.com/dms/image/v2/D4E03AQ0123456789/profile-displayphoto-shrink_100_100/0/1516300000000?e=1780000000&v=beta&t=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"},
		Scopes:  []string{"email", "openid", "profile", "w_member_social"}, VerifiedAt: now.Add(-time.Minute), CheckedAt: now.Add(-time.Minute),
		Due: now.AddDate(0, 0, 50), ExpiresAt: now.AddDate(2, 0, 0),
	}
	for i, n := range tokens {
		switch i {
		case 0:
			g.Access = token(n, now.AddDate(0, 0, 60))
		case 1:
			g.Refresh = token(n, now.AddDate(1, 0, 0))
		case 2:
			g.Fresh = token(n, now.AddDate(0, 0, 60))
		}
	}
	return g
}

// sealing is what seal.Seal adds to a token: version, key, salt and tag.
const sealing = 1 + 4 + 32 + 16

// written are the items that use puts into a table, as DynamoDB is sent them.
func written(t testing.TB, use func(*dynamo.Table) error) (items []map[string]any) {
	t.Helper()
	table, err := dynamo.Open(dynamo.Config{Table: "keepin", Region: awstest.Region, Credentials: awstest.Credentials(), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		var in struct{ Item map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		if in.Item != nil {
			items = append(items, in.Item)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte("{}"))), Request: r}, nil
	})})
	must(t, err)
	must(t, use(table))
	return items
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// oneTable answers every call as DynamoDB does a Query of a member who is
// signed in, over TLS with a chain such as AWS's: at once, so that the time of
// a real table does not hide the function's. It returns its address and the
// file of the roots to trust: those that keepin has for AWS, and the chain's.
func oneTable(t testing.TB) (url, roots string) {
	t.Helper()
	now := time.Now()
	items := written(t, func(table *dynamo.Table) error {
		g := grant(now, 350, 350)
		if err := table.Put(t.Context(), g, ""); err != nil {
			return err
		}
		return table.PutSession(t.Context(), session.Session{Member: member, Hash: sha256.Sum256([]byte(sessionID)), Generation: g.Generation, CreatedAt: now, ExpiresAt: now.AddDate(0, 0, 400)})
	})
	for _, i := range items {
		for _, sealed := range []string{"at", "ft", "rt", "pk"} {
			delete(i, sealed) // the projection leaves them out
		}
	}
	answer, err := json.Marshal(map[string]any{"Count": len(items), "ScannedCount": len(items), "Items": items})
	must(t, err)
	checksum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(answer)), 10)

	cert, root := chain(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("X-Amz-Crc32", checksum)
		_, _ = w.Write(answer)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}} // as DynamoDB
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	own, err := os.ReadFile("../../shared/awsenv/amazon.pem")
	must(t, err)
	roots = filepath.Join(t.TempDir(), "roots.pem")
	must(t, os.WriteFile(roots, append(own, root...), 0o600))
	return s.URL, roots
}

// chain is a server's certificate with its intermediate, and the root they are
// from. The authorities are RSA, as AWS's; the server's own key is not, so that
// its signature, a millisecond on the machine that is shared with the function,
// does not count as the function's.
func chain(t testing.TB) (tls.Certificate, []byte) {
	t.Helper()
	rootKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	middleKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	ca := func(n int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "bench " + strconv.FormatInt(n, 10)}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root, middle := ca(1), ca(2)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	sign := func(c, by *x509.Certificate, key crypto.Signer, byKey *rsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), byKey)
		must(t, err)
		return der
	}
	rootDER := sign(root, root, rootKey, rootKey)
	return tls.Certificate{
		Certificate: [][]byte{sign(leaf, middle, key, middleKey), sign(middle, root, middleKey, rootKey)}, PrivateKey: key,
	}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
}

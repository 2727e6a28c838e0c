// Package seal encrypts tokens for one owner and one purpose, with keys that
// are rotated while keepin runs.
//
// A sealed value is
//
//	version (1 byte, 1) | key id (4 bytes, big-endian) | salt (32 bytes) | AES-256-GCM ciphertext and tag
//
// Its key is HKDF-SHA-256 (RFC 5869) of the named key of the keyset and the
// random salt, so each value has a key of its own: the nonce may be zero, and
// no count of values is too many. Version, key id, purpose and owner are the
// associated data: a value that was moved to another row opens nothing.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

var (
	// ErrOpen: the value does not open. It was changed or cut, is for another
	// purpose or owner, or its key is no more: which of these is not told.
	ErrOpen = errors.New("seal: does not open")
	// ErrKeyset: the keyset cannot be read now. It says nothing of the value.
	ErrKeyset = fmt.Errorf("seal: the keyset is unavailable: %w", keeper.ErrUnavailable)
)

const (
	version    = 1
	headerSize = 1 + 4
	saltSize   = 32
	tagSize    = 16

	cacheFor = 5 * time.Minute  // a keyset is used without asking again
	rest     = 10 * time.Second // between two rereadings, and after a failure
	ahead    = 64               // keys that others may have added since the last reading
)

// Config says where the keyset is.
type Config struct {
	// Source reads the keyset; with reread it must not answer from a cache. It
	// is called at most once at a time, and seldom: when the keyset that is held
	// is 5 minutes old, and (a reread) when a value names a key that it has not.
	// Rereads are 10 s apart, and so is a reading from one that failed, but
	// while there is no keyset at all.
	Source func(ctx context.Context, reread bool) (secret.String, error)
	Now    func() time.Time // nil: time.Now
}

// Sealer seals with the newest key and opens with any. It is a keeper.Sealer,
// and safe for concurrent use.
type Sealer struct {
	source  func(context.Context, bool) (secret.String, error)
	now     func() time.Time
	reading chan struct{} // holds a token while the source is being read

	mu     sync.Mutex
	held   *keyset // nil: none was ever read
	readAt time.Time
	tryAt  time.Time // the last reading that failed or was a reread
	tryErr error     // what came of it
}

var _ keeper.Sealer = (*Sealer)(nil)

// New makes a Sealer. It reads nothing yet.
func New(c Config) *Sealer {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Sealer{source: c.Source, now: c.Now, reading: make(chan struct{}, 1)}
}

// Seal encrypts clear, 53 bytes longer than it is. Its errors are ErrKeyset's.
func (s *Sealer) Seal(ctx context.Context, clear secret.String, purpose keeper.Purpose, owner string) ([]byte, error) {
	set, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	blob := make([]byte, headerSize+saltSize, headerSize+saltSize+len(clear.Reveal())+tagSize)
	blob[0] = version
	binary.BigEndian.PutUint32(blob[1:headerSize], set.newest)
	rand.Read(blob[headerSize:]) // never fails
	aead, err := recordCipher(set.keys[set.newest], blob[headerSize:])
	if err != nil {
		return nil, fmt.Errorf("seal: make the record's key: %w", err)
	}
	return aead.Seal(blob, make([]byte, aead.NonceSize()), []byte(clear.Reveal()), associated(blob, purpose, owner)), nil
}

// Open decrypts what Seal made for the same purpose and owner. Its errors are
// ErrOpen and ErrKeyset's. An empty value is a value: it opens as the zero String.
func (s *Sealer) Open(ctx context.Context, sealed []byte, purpose keeper.Purpose, owner string) (secret.String, error) {
	id, err := KeyID(sealed)
	if err != nil {
		return secret.String{}, err
	}
	key, err := s.key(ctx, id)
	if err != nil {
		return secret.String{}, err
	}
	aead, err := recordCipher(key, sealed[headerSize:headerSize+saltSize])
	if err != nil {
		return secret.String{}, ErrOpen
	}
	clear, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed[headerSize+saltSize:], associated(sealed, purpose, owner))
	if err != nil {
		return secret.String{}, ErrOpen
	}
	return secret.New(string(clear)), nil
}

// KeyID is the key that a sealed value names; ErrOpen when it is no such value.
// Nothing vouches for it until the value is opened.
func KeyID(sealed []byte) (uint32, error) {
	if len(sealed) < headerSize+saltSize+tagSize || sealed[0] != version {
		return 0, ErrOpen
	}
	return binary.BigEndian.Uint32(sealed[1:headerSize]), nil
}

// recordCipher is the cipher of the one record that has this salt.
func recordCipher(material secret.String, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(material.Reveal()), salt, "keepin sealed record", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// associated is what the tag vouches for besides the ciphertext. The length
// before the purpose keeps it apart from the owner.
func associated(blob []byte, purpose keeper.Purpose, owner string) []byte {
	out := append([]byte{}, blob[:headerSize]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(purpose)))
	out = append(out, purpose...)
	return append(out, owner...)
}

// key finds a key by its id. A key that is not in the keyset may have been
// added since that was read: it is read once more. While it may not be read
// again yet, a key that could be such a new one is ErrKeyset and not ErrOpen,
// because the next reading may well bring it.
func (s *Sealer) key(ctx context.Context, id uint32) (secret.String, error) {
	set, err := s.current(ctx)
	if err != nil {
		return secret.String{}, err
	}
	if key, ok := set.keys[id]; ok {
		return key, nil
	}
	if id == 0 || uint64(id) > uint64(set.newest)+ahead {
		return secret.String{}, ErrOpen
	}
	set, read, err := s.reread(ctx, id)
	if err != nil {
		return secret.String{}, err
	}
	if key, ok := set.keys[id]; ok {
		return key, nil
	}
	if !read && id > set.newest {
		return secret.String{}, fmt.Errorf("%w: it has no key %d, and was read a moment ago", ErrKeyset, id)
	}
	return secret.String{}, ErrOpen
}

// current is the keyset that is held, read again when it is old. Only the
// first caller waits for that; and when it fails, the old one goes on.
func (s *Sealer) current(ctx context.Context) (*keyset, error) {
	s.mu.Lock()
	set, old := s.held, s.held == nil || since(s.now(), s.readAt) >= cacheFor && since(s.now(), s.tryAt) >= rest
	s.mu.Unlock()
	if !old {
		return set, nil
	}
	if set != nil {
		select {
		case s.reading <- struct{}{}:
			defer func() { <-s.reading }()
			if got, err := s.read(ctx, false); err == nil {
				return got, nil
			}
		default: // another is reading
		}
		return set, nil
	}
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	defer func() { <-s.reading }()
	s.mu.Lock()
	set = s.held
	s.mu.Unlock()
	if set != nil { // read while this call was waiting
		return set, nil
	}
	return s.read(ctx, false)
}

// reread asks the source for a keyset with key id, unless that was done within
// the last 10 s: then it reports false.
func (s *Sealer) reread(ctx context.Context, id uint32) (*keyset, bool, error) {
	if err := s.wait(ctx); err != nil {
		return nil, false, err
	}
	defer func() { <-s.reading }()
	s.mu.Lock()
	set, tryErr, early := s.held, s.tryErr, since(s.now(), s.tryAt) < rest
	s.mu.Unlock()
	if _, ok := set.keys[id]; ok {
		return set, true, nil
	}
	if early {
		return set, false, tryErr
	}
	set, err := s.read(ctx, true)
	return set, true, err
}

// wait waits for the right to read.
func (s *Sealer) wait(ctx context.Context) error {
	select {
	case s.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrKeyset, ctx.Err())
	}
}

// read reads the source; the caller has the right to.
func (s *Sealer) read(ctx context.Context, reread bool) (*keyset, error) {
	text, err := s.source(ctx, reread)
	var set *keyset
	if err == nil {
		set, err = parse(text)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrKeyset, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reread || err != nil && ctx.Err() == nil { // a caller who left has proved nothing of the source
		s.tryAt, s.tryErr = s.now(), err
	}
	if err != nil {
		return nil, err
	}
	s.held, s.readAt = set, s.now()
	return set, nil
}

// since is how long ago t was; long, when t is in the future: a clock that was
// set back must not make anything last.
func since(now, t time.Time) time.Duration {
	if t.After(now) {
		return cacheFor
	}
	return now.Sub(t)
}

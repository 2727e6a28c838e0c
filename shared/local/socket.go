package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A bolt file has one user. So that an operator's verb works while keepin runs,
// the keepin that holds the file does it: it listens at a unix socket beside
// the file, which its own user alone may open. One POST carries the verb's
// words as a JSON array; the answer is text, with 200 or 422.

func socketOf(store string) string { return store + ".sock" }

const (
	maxWords  = 4 << 10
	maxAnswer = 16 << 20
	verbFor   = time.Minute
)

// ListenOperator opens the socket of this machine's operator; serve
// OperatorHandler on it. Whoever holds the store's file may take the place of a
// socket that a killed process left.
func (m *Machine) ListenOperator(ctx context.Context) (net.Listener, error) {
	path := socketOf(m.store)
	// Made in a folder that nobody else can enter: there is no moment in which
	// others could open it.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".sock-*")
	if err != nil {
		return nil, fmt.Errorf("make the operator's socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", made)
	if err != nil {
		return nil, fmt.Errorf("make the operator's socket: %w", err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	err = os.Chmod(made, 0o600)
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the operator's socket: %w", err), l.Close())
	}
	return socket{l, path}, nil
}

type socket struct {
	net.Listener
	path string
}

// Close takes the socket away.
func (s socket) Close() error {
	return errors.Join(os.Remove(s.path), s.Listener.Close())
}

// OperatorHandler answers Operate. Nobody may reach it but by ListenOperator.
func (m *Machine) OperatorHandler() http.Handler { return http.HandlerFunc(m.operate) }

func (m *Machine) operate(w http.ResponseWriter, r *http.Request) {
	var words []string
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxWords)).Decode(&words); err != nil || r.Method != http.MethodPost {
		http.Error(w, "POST a JSON array of words", http.StatusBadRequest)
		return
	}
	text, err := m.operator.Do(r.Context(), words...)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		text = err.Error()
	}
	_, _ = io.WriteString(w, text)
}

// errNobody: no keepin listens.
var errNobody = errors.New("no keepin runs here")

// ask has the keepin at the socket do it.
func ask(ctx context.Context, path string, words []string) (string, error) {
	body, err := json.Marshal(words)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://keepin/", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	res, err := (&http.Client{Transport: transport, Timeout: verbFor}).Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "", errNobody
	case errors.Is(err, syscall.EINVAL): // too long to be a socket's name: none can be there
		return "", errNobody
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("may not use %s: run this as the user that keepin runs as: %w", path, err)
	case err != nil:
		return "", fmt.Errorf("ask the keepin that runs: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("ask the keepin that runs: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", errors.New(strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

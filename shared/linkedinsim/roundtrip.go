package linkedinsim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// RoundTrip answers r in this process, without a network. A reset is an error,
// as is reading to the end of a truncated body.
func (s *Sim) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = cmp.Or(r.Host, r.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := &recorder{header: make(http.Header)}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			resp, err = nil, errReset
		default:
			panic(p)
		}
	}()
	s.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	resp = &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Request: r, ContentLength: -1,
	}
	var body io.Reader = bytes.NewReader(w.body.Bytes())
	if n, err := strconv.Atoi(w.header.Get("Content-Length")); err == nil {
		resp.ContentLength = int64(n)
		if n > w.body.Len() {
			body = io.MultiReader(body, cut{})
		}
	}
	resp.Body = io.NopCloser(body)
	return resp, nil
}

// recorder is the http.ResponseWriter of RoundTrip.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	return w.body.Write(p)
}

// cut ends a body that was promised longer.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

var errReset = errors.New("linkedinsim: connection reset by peer")

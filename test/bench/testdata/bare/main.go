// Command bare is a web server whose every answer is one value of a bbolt file:
// what a validation on one machine cannot do without.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

func main() {
	db, err := bbolt.Open(os.Args[1], 0o600, nil)
	if err != nil {
		panic(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("grants"))
		if err != nil {
			return err
		}
		return b.Put([]byte("member"), make([]byte, 1200))
	})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	server := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = db.View(func(tx *bbolt.Tx) error {
			w.Header().Set("Content-Type", "application/json")
			_, err := w.Write(tx.Bucket([]byte("grants")).Get([]byte("member"))[:400])
			return err
		})
	})}
	panic(server.Serve(l))
}

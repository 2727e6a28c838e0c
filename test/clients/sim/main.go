// Command sim serves the simulator on a free port of this machine and writes
// its address to standard output, until standard input ends.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

func run() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	sim, err := linkedinsim.New(linkedinsim.Config{URL: url})
	if err != nil {
		return err
	}
	fmt.Println(url)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		l.Close()
	}()
	_ = http.Serve(l, sim)
	return nil
}

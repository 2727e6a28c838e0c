// Command hello is a bootstrap that does as its event says, for the tests of the host.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func main() {
	switch os.Getenv("HELLO_INIT") {
	case "exit":
		os.Exit(3)
	case "hang":
		select {}
	}
	fmt.Println("hello from", os.Getpid())
	var count, spins atomic.Int64
	lambda.Start(func(ctx context.Context, event json.RawMessage) (any, error) {
		count.Add(1)
		var e struct{ Do, Wait string }
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		switch e.Do {
		case "error":
			return nil, errors.New("as asked")
		case "panic":
			panic("as asked")
		case "exit":
			os.Exit(4)
		case "hang":
			select {}
		case "wait": // until the file is there
			for {
				if _, err := os.Stat(e.Wait); err == nil {
					return "waited", nil
				}
				time.Sleep(time.Millisecond)
			}
		case "spin": // a goroutine that outlives the invocation
			go func() {
				for {
					spins.Add(1)
					time.Sleep(time.Millisecond)
				}
			}()
		case "large":
			return string(make([]byte, 2<<20)), nil // 6 bytes each as JSON
		case "env":
			return os.Getenv(e.Wait), nil
		case "response":
			return json.RawMessage(e.Wait), nil
		case "echo", "":
			return event, nil
		}
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"pid": os.Getpid(), "count": count.Load(), "spins": spins.Load(),
			"request_id": lc.AwsRequestID, "left_ms": time.Until(deadline).Milliseconds(),
		}, nil
	})
}

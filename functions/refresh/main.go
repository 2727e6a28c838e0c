// Command refresh is the Lambda of the schedule: one pass over what is due.
package main

import (
	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/lambdahttp"
)

func main() {
	work.Start(func(w *work.Work) lambdahttp.Function {
		return lambdahttp.Function{Tick: w.Pass}
	})
}

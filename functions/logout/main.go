// Command logout is the Lambda behind POST /logout.
package main

import (
	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/web"
)

func main() {
	work.Start(func(w *work.Work) lambdahttp.Function {
		return lambdahttp.Function{HTTP: web.Mux(w.Site, "", web.Routes{
			Logout: web.Logout(w.Site, w.Sessions, w.Keeper),
		})}
	})
}

// Command callback is the Lambda behind GET /login and GET /callback: the sign-in.
package main

import (
	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/web"
)

func main() {
	work.Start(func(w *work.Work) lambdahttp.Function {
		return lambdahttp.Function{HTTP: web.Mux(w.Site, "", web.Routes{
			Login:    web.Login(w.Site, w.Sessions, w.LinkedIn),
			Callback: web.Callback(w.Site, w.Sessions, w.LinkedIn, w.Keeper),
		})}
	})
}

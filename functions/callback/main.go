// Command callback is the Lambda behind GET /login, GET /callback and POST
// /exchange: the sign-in.
package main

import (
	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/web"
)

func main() {
	work.Start(func(w *work.Work) lambdahttp.Function {
		routes := web.SignInRoutes(w.Site, w.Sessions, w.LinkedIn, w.Keeper, w.SDKExchange != "")
		return lambdahttp.Function{HTTP: web.Mux(w.Site, "", routes)}
	})
}

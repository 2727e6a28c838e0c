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
		routes := web.Routes{
			Login:    web.Login(w.Site, w.Sessions, w.LinkedIn),
			Callback: web.Callback(w.Site, w.Sessions, w.LinkedIn, w.Keeper),
		}
		if w.SDKExchange != "" {
			routes.Login = web.LoginBySDK(w.Site, w.Sessions, w.LinkedIn, w.Keeper, routes.Login)
			routes.Exchange = web.Exchange(w.Site, w.Sessions, w.LinkedIn, w.Keeper)
		}
		return lambdahttp.Function{HTTP: web.Mux(w.Site, "", routes)}
	})
}

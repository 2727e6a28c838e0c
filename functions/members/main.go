// Command members is the Lambda behind the back end's routes.
package main

import (
	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/web"
)

func main() {
	work.Start(func(w *work.Work) lambdahttp.Function {
		backend := w.Backend()
		return lambdahttp.Function{HTTP: web.Mux(w.Site, "", web.Routes{
			Member:       backend(web.Member(w.Site, w.Keeper)),
			DeleteMember: backend(web.DeleteMember(w.Site, w.Keeper)),
			Token:        backend(web.Token(w.Site, w.Keeper)),
			Redeem:       backend(web.Redeem(w.Site, w.Sessions, w.Keeper)),
		})}
	})
}

// Command validate is the Lambda behind GET /validate, GET / and GET /badge.js,
// and the Lambda authorizer of other APIs. It reads one table.
package main

import (
	"github.com/keepin/keepin/shared/app"
	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/web"
)

func main() {
	app.Start(config.Validate, func(a *app.App) (lambdahttp.Function, error) {
		sessions, err := session.New(session.Config{Store: a.Table, Secure: a.Site.Secure(), Now: a.Now})
		mux := web.Mux(a.Site, "", web.Routes{
			Validate: web.Validate(a.Site, sessions),
			Account:  web.Account(a.Site, sessions),
			Badge:    web.Badge(a.Site),
		})
		return lambdahttp.Function{HTTP: mux, Validate: mux}, err
	})
}

module github.com/keepin/keepin/test/clients

go 1.26.0

require (
	github.com/keepin/keepin v0.0.0
	github.com/markbates/goth v1.82.0
)

require golang.org/x/oauth2 v0.37.0 // indirect

replace github.com/keepin/keepin => ../..

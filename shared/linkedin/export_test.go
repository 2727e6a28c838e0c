package linkedin

import "net/url"

// SignatureBase and Signature open how a request is signed by OAuth 1.0a.
func SignatureBase(address string, params [][2]string, form url.Values) string {
	return signatureBase(address, params, form)
}

func Signature(clientSecret, base string) string { return oauth1Signature(clientSecret, base) }

package web

import "strings"

// Codes are the codes of the table of answers.
func Codes() []string {
	codes := []string{internal.code}
	for _, a := range answers {
		codes = append(codes, a.code)
	}
	return codes
}

// ReturnTo opens the grammar of return addresses.
func (s *Site) ReturnTo(raw string) (string, bool) { return s.returnTo(raw) }

// WithParam opens what is added to return addresses.
func WithParam(address, name, value string) string { return withParam(address, name, value) }

// Fill fills a page whose holes all have one name and one value.
func Fill(page, name, value string) (string, error) {
	var b strings.Builder
	err := fill(&b, page, view{text: map[string]string{name: value}, url: map[string]string{name: value}})
	return b.String(), err
}

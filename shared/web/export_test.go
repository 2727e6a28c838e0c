package web

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

package linkedinsim

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// Switches are the choices LinkedIn made, documented otherwise, or leaves in
// the dark. The zero Switches is LinkedIn as observed, so each field names the
// departure from it. On the control page and in JSON, where the names are those
// of the json tags, a duration is written as Go writes it ("90s"), or in days
// ("59d").
type Switches struct {
	DocErrorCodes    bool   `json:"doc_error_codes" about:"documented error codes (invalid_redirect_uri, invalid_client_id) instead of those really sent (invalid_request, invalid_client)"`
	MessagePeriod    bool   `json:"message_period" about:"a period at the end of the text that refuses a refresh token"`
	RejectDuplicates bool   `json:"reject_duplicates" about:"400 for a parameter that is sent twice; else the first one counts"`
	ScopeSeparator   string `json:"scope_separator" about:"between scopes in a token answer; empty: a comma"`
	TokenType        string `json:"token_type" about:"always, never; empty: only with openid"`
	ExpiresInExact   bool   `json:"expires_in_exact" about:"expires_in 5184000 as documented; else one second less"`
	TokenLength      int    `json:"token_length" about:"characters of a token, 24 to 10000; 0: 350"`

	EmailVerifiedBool  bool `json:"email_verified_bool" about:"email_verified in the ID token is a boolean; else a string"`
	LocaleString       bool `json:"locale_string" about:"locale in userinfo is a string, as documented; else an object"`
	LocaleHyphen       bool `json:"locale_hyphen" about:"locale as a string is en-US; else en_US"`
	OldIssuer          bool `json:"old_issuer" about:"the issuer of before April 2024, without /oauth"`
	IDTokenOnRefresh   bool `json:"id_token_on_refresh" about:"a refresh answers with an ID token too"`
	RedirectQuery      bool `json:"redirect_query" about:"a redirect_uri may carry a query that is not registered"`
	AlwaysConsent      bool `json:"always_consent" about:"never skip the consent page (old apps)"`
	CodeReuseRevokes   bool `json:"code_reuse_revokes" about:"using a code twice revokes what it brought"`
	VoidAtConsent      bool `json:"void_at_consent" about:"other scopes void older tokens at consent; else at the code exchange"`
	ScopeChangeSpares  bool `json:"scope_change_spares" about:"other scopes void access tokens only; else refresh tokens too"`
	ReauthorizeVoids   bool `json:"reauthorize_voids" about:"consenting to the same scopes voids older refresh tokens"`
	RefreshVoidsAccess bool `json:"refresh_voids_access" about:"a refresh voids the older access tokens of its refresh token"`

	Rotate        bool          `json:"rotate" about:"each refresh gives a new refresh token and ends the old one; LinkedIn gives the same one"`
	RotationGrace time.Duration `json:"rotation_grace" about:"how long a rotated refresh token still works"`
	RefreshQuota  int           `json:"refresh_quota" about:"refreshes per app and UTC day, then 429; 0: no limit"`

	RevokeEndpoint      bool `json:"revoke_endpoint" about:"/oauth/v2/revoke works as RFC 7009; else 404"`
	RevokeSparesRefresh bool `json:"revoke_spares_refresh" about:"revoking an access token leaves its refresh token alive"`
	IntrospectRefresh   bool `json:"introspect_refresh" about:"a refresh token may be introspected; else 400"`

	TwoLeggedNumber bool `json:"two_legged_number" about:"expires_in of client credentials is a number; else a string"`
	NativeRefresh   bool `json:"native_refresh" about:"native apps get refresh tokens"`
	NativeLocalhost bool `json:"native_localhost" about:"native apps may redirect to localhost by name"`

	SDKAnswer string `json:"sdk_answer" about:"what a token of the JavaScript SDK is exchanged for: empty: OAuth 2.0 in JSON; form: OAuth 2.0 as a form; oauth1: OAuth 1.0a, as LinkedIn did; gone: 410"`

	PropagationDelay  time.Duration `json:"propagation_delay" about:"how long a new access token is answered 401 REVOKED_ACCESS_TOKEN"`
	StaleScopeCache   time.Duration `json:"stale_scope_cache" about:"how long the API remembers the scopes of an older token it has seen; observed up to 5m"`
	CodeLifetime      time.Duration `json:"code_lifetime" about:"0: 30m"`
	AccessLifetime    time.Duration `json:"access_lifetime" about:"0: 60 days"`
	RefreshLifetime   time.Duration `json:"refresh_lifetime" about:"0: 365 days"`
	TwoLeggedLifetime time.Duration `json:"two_legged_lifetime" about:"0: 30m"`
	IDTokenLifetime   time.Duration `json:"id_token_lifetime" about:"0: 1h"`
	DeadTokenMemory   time.Duration `json:"dead_token_memory" about:"how long after its issue a dead token is known for what it was, however many there are; 0: 1h"`
}

func (s Switches) codeLifetime() time.Duration    { return orDefault(s.CodeLifetime, 30*time.Minute) }
func (s Switches) accessLifetime() time.Duration  { return orDefault(s.AccessLifetime, 60*day) }
func (s Switches) refreshLifetime() time.Duration { return orDefault(s.RefreshLifetime, 365*day) }
func (s Switches) twoLeggedLifetime() time.Duration {
	return orDefault(s.TwoLeggedLifetime, 30*time.Minute)
}
func (s Switches) idTokenLifetime() time.Duration { return orDefault(s.IDTokenLifetime, time.Hour) }
func (s Switches) deadTokenMemory() time.Duration { return orDefault(s.DeadTokenMemory, time.Hour) }
func (s Switches) scopeSeparator() string         { return orDefault(s.ScopeSeparator, ",") }
func (s Switches) tokenLength() int               { return orDefault(s.TokenLength, 350) }

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// setting is one switch as the control page and JSON see it.
type setting struct {
	Name, About string
	Value       any // bool, int or string
}

// settings lists the switches in their order above.
func (s Switches) settings() []setting {
	v := reflect.ValueOf(s)
	var list []setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		one := setting{Name: f.Tag.Get("json"), About: f.Tag.Get("about"), Value: v.Field(i).Interface()}
		if d, ok := one.Value.(time.Duration); ok {
			one.Value = ""
			if d != 0 {
				one.Value = d.String()
			}
		}
		list = append(list, one)
	}
	return list
}

// set changes one switch from its text: "true", "90s", "1000", ",". An empty
// text is LinkedIn's own behaviour.
func (s *Switches) set(name, text string) error {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("json") != name {
			continue
		}
		f := v.Field(i)
		if text == "" {
			f.SetZero()
			return nil
		}
		var err error
		switch f.Interface().(type) {
		case time.Duration:
			var d time.Duration
			if d, err = parseSpan(text); err == nil && d < 0 {
				err = fmt.Errorf("%s is negative", text)
			}
			f.SetInt(int64(d))
		case bool:
			var b bool
			b, err = strconv.ParseBool(text)
			f.SetBool(b)
		case int:
			var n int
			n, err = strconv.Atoi(text)
			f.SetInt(int64(n))
		default:
			f.SetString(text)
		}
		if err != nil {
			return fmt.Errorf("linkedinsim: switch %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("linkedinsim: no switch is named %q", name)
}

// MarshalJSON writes every switch, durations as text.
func (s Switches) MarshalJSON() ([]byte, error) {
	all := make(map[string]any)
	for _, one := range s.settings() {
		all[one.Name] = one.Value
	}
	return json.Marshal(all)
}

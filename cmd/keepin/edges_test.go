package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/e2e"
)

// TestARequestInFlightFinishesAtSIGTERM: the code is used up when the signal
// comes, so an answer that is cut off would cost the member her sign-in.
func TestARequestInFlightFinishesAtSIGTERM(t *testing.T) {
	sim, linkedIn := restless(t)
	s := newServer(t, sim, linkedIn)
	s.start()
	browser := s.client()
	res, err := browser.Get(s.base + "/login")
	must(t, err)
	_ = res.Body.Close()
	back, err := sim.Authorize(res.Header.Get("Location"), "ada")
	must(t, err)
	must(t, sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter}))
	type callback struct {
		status int
		err    error
	}
	answered := make(chan callback, 1)
	go func() {
		res, err := browser.Get(back)
		if err != nil {
			answered <- callback{err: err}
			return
		}
		_ = res.Body.Close()
		answered <- callback{status: res.StatusCode}
	}()
	waitFor(t, s.log, "the exchange", func() bool { return sim.InFlight(linkedinsim.TokenEndpoint) > 0 })
	must(t, s.process.Process.Signal(syscall.SIGTERM))
	waitFor(t, s.log, "the port to close", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	sim.Clear() // LinkedIn's answer arrives when keepin is on its way out
	if got := <-answered; got.err != nil || got.status != http.StatusSeeOther {
		t.Errorf("the request in flight: %d %v", got.status, got.err)
	}
	if err := s.process.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v: %s", err, s.log)
	}
	s.start()
	defer s.kill()
	if code, err := s.get(browser, "/validate", nil); code != http.StatusOK {
		t.Errorf("after the next start: /validate = %d %v", code, err)
	}
}

// TestAFolderOfAnotherUserIsASentence runs the program as nobody, where the test
// may; else in a folder that is closed to itself.
func TestAFolderOfAnotherUserIsASentence(t *testing.T) {
	dir, err := os.MkdirTemp("", "keepin-") // t.TempDir's parents are closed to others
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // another user is to come in
	bin := filepath.Join(dir, "keepin")
	program, err := os.ReadFile(keepin(t))
	must(t, err)
	must(t, os.WriteFile(bin, program, 0o755)) //nolint:gosec // and to run it
	data := filepath.Join(dir, ".keepin")
	must(t, os.Mkdir(data, 0o700))
	must(t, os.WriteFile(filepath.Join(data, "linkedin.json"), []byte(`{"client_id":"77app","client_secret":"the-secret-of-the-app"}`), 0o600))

	for _, c := range []struct {
		args []string
		env  []string
		want []string
	}{
		{[]string{"serve"}, []string{"KEEPIN_BASE_URL=https://members.example.com", "KEEPIN_SCOPES=openid", "KEEPIN_LISTEN=127.0.0.1:0"}, []string{data, "permission denied", "another user"}},
		{[]string{"dev", "--listen", "localhost:0", "--linkedin", "localhost:0"}, nil, []string{".keepin", "permission denied", "--data"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, bin, c.args...)
		cmd.Dir, cmd.Env = dir, append(clean(), c.env...)
		cmd.Env = append(cmd.Env, "KEEPIN_DATA="+data)
		if c.env == nil {
			cmd.Env = clean()
		}
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		} else {
			must(t, os.Chmod(data, 0))
			defer os.Chmod(data, 0o700)
		}
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("keepin %q: %v", c.args, err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("keepin %q: the answer lacks %q: %s", c.args, want, out)
			}
		}
		if strings.Contains(string(out), "panic") || strings.Count(strings.TrimSpace(string(out)), "\n") > 1 {
			t.Errorf("keepin %q: no sentence: %s", c.args, out)
		}
	}
}

// TestSimServesAPlainOAuthClient: the simulator alone, and golang.org/x/oauth2
// as any application has it.
func TestSimServesAPlainOAuthClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	out := new(e2e.Log)
	c := exec.Command(keepin(t), "sim", "--listen", address, "--client-id", "77plain", "--redirect", "http://localhost/back", "--scope", "openid", "--scope", "profile")
	c.Dir, c.Env, c.Stdout, c.Stderr = t.TempDir(), clean(), out, out
	must(t, c.Start())
	defer func() { _, _ = c.Process.Kill(), c.Wait() }()
	waitFor(t, out, "its address", func() bool { return strings.Contains(out.String(), "control page") })
	base := "http://" + address
	secret := strings.Fields(after(out.String(), "client secret"))[0]
	config := oauth2.Config{ClientID: "77plain", ClientSecret: secret, RedirectURL: "http://localhost/back", Scopes: []string{"openid", "profile"},
		Endpoint: oauth2.Endpoint{AuthURL: base + "/oauth/v2/authorization", TokenURL: base + "/oauth/v2/accessToken", AuthStyle: oauth2.AuthStyleInParams}}
	var back struct{ Callback string }
	post(t, base+"/_sim/api/authorize", map[string]string{"url": config.AuthCodeURL("the state"), "member": "ada"}, &back)
	u, err := url.Parse(back.Callback)
	must(t, err)
	if u.Query().Get("state") != "the state" {
		t.Errorf("the state came back as %q", u.Query().Get("state"))
	}
	token, err := config.Exchange(t.Context(), u.Query().Get("code"))
	must(t, err)
	who := func(token *oauth2.Token) string {
		res, err := config.Client(t.Context(), token).Get(base + "/v2/userinfo")
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		var v struct{ Name string }
		_ = json.Unmarshal(body, &v)
		return v.Name
	}
	if got := who(token); got != "Ada Lovelace" {
		t.Errorf("userinfo names %q", got)
	}
	post(t, base+"/_sim/api/clock", map[string]string{"advance": "61d"}, nil)
	if got := who(token); got != "" {
		t.Errorf("61 days later the token still serves %q", got)
	}
	token.Expiry = time.Now().Add(-time.Minute) // the client's clock was not moved
	if got := who(token); got != "Ada Lovelace" {
		t.Errorf("after a refresh userinfo names %q", got)
	}
	must(t, c.Process.Signal(os.Interrupt))
	if err := c.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v: %s", err, out)
	}
}

// after is what follows label in text.
func after(text, label string) string {
	_, rest, _ := strings.Cut(text, label)
	return rest + " -"
}

func TestAPortThatIsTakenIsASentenceOfDevAndSim(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	address := taken.Addr().String()
	for _, c := range []struct {
		args []string
		flag string
	}{
		{[]string{"dev", "--listen", address, "--linkedin", "localhost:0"}, "--listen"},
		{[]string{"dev", "--listen", "localhost:0", "--linkedin", address}, "--linkedin"},
		{[]string{"sim", "--listen", address}, "--listen"},
	} {
		code, out := run(t, keepin(t), t.TempDir(), nil, c.args...)
		for _, want := range []string{address + " is taken by another program", "choose another address with " + c.flag} {
			if code != 1 || !strings.Contains(out, want) {
				t.Errorf("keepin %q: exit %d, without %q: %s", c.args, code, want, out)
			}
		}
	}
}

// <keepin-badge> shows who is signed in, with the way in or out.
//
//   <script src="https://auth.example.com/badge.js" defer></script>
//   <keepin-badge></keepin-badge>
//
// Attributes: return-to, where a sign-in comes back to (default: this page);
// scope, as for /login. It fires "keepin-change" with the answer of /validate
// as its detail, null when nobody is signed in. For another origin than
// keepin's own to use it, that origin must be configured.
(() => {
  "use strict";
  const keepin = __KEEPIN__;
  const css = `
    :host { display: inline-block; font: 0.875rem/1.4 system-ui, sans-serif; color: inherit; }
    div { display: inline-flex; align-items: center; gap: 0.625rem; min-height: 2.25rem; }
    img, .initials { width: 2rem; height: 2rem; border-radius: 50%; object-fit: cover; }
    .initials { display: inline-grid; place-items: center; background: #0a5cad; color: #fff; font-weight: 600; }
    .name { font-weight: 600; overflow-wrap: anywhere; }
    a, button { font: inherit; color: inherit; background: none; padding: 0.375rem 0.75rem; cursor: pointer;
      border: 1px solid color-mix(in srgb, currentColor 30%, transparent); border-radius: 0.5rem; text-decoration: none; }
    a:hover, button:hover { border-color: currentColor; }
    :focus-visible { outline: 3px solid #3b82c4; outline-offset: 2px; }
    button[disabled] { opacity: 0.6; cursor: default; }`;

  // here is this page in the characters that /login takes; browsers leave some
  // others, such as [ and |, as they are.
  const here = () => location.href
    .replace(/%(?![0-9a-f]{2})/gi, "%25")
    .replace(/[^\w.~!$&'()*+,;=:@/?#%-]/g, encodeURIComponent);

  const make = (tag, text, set = {}) =>
    Object.assign(document.createElement(tag), { textContent: text }, set);

  class KeepinBadge extends HTMLElement {
    #box = make("div", "", { role: "status" });
    #round = 0;

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet(); // a page's CSP does not stop it, as it would a <style>
      sheet.replaceSync(css);
      root.adoptedStyleSheets = [sheet];
      root.append(this.#box);
    }

    connectedCallback() { this.refresh(); }

    // refresh asks keepin again who is signed in.
    async refresh() {
      const round = ++this.#round;
      let answer = null, failed = false;
      try {
        const r = await fetch(keepin + "/validate", { credentials: "include", headers: { Accept: "application/json" } });
        if (r.ok) answer = await r.json();
        else failed = r.status !== 401;
      } catch {
        failed = true;
      }
      if (round !== this.#round) return; // a later one has answered
      if (failed) this.#fail("Sign-in is not reachable.", () => this.refresh());
      else this.#show(answer);
    }

    #show(answer) {
      if (answer) this.#member(answer.member);
      else this.#box.replaceChildren(make("a", "Sign in with LinkedIn", { href: this.#login() }));
      this.dispatchEvent(new CustomEvent("keepin-change", { bubbles: true, composed: true, detail: answer }));
    }

    #member({ name = "LinkedIn member", picture }) {
      const initials = make("span", name.trim().slice(0, 1).toUpperCase(), { className: "initials", ariaHidden: "true" });
      let portrait = initials;
      if (picture) {
        portrait = make("img", "", { alt: "", referrerPolicy: "no-referrer" });
        portrait.onerror = () => portrait.replaceWith(initials); // LinkedIn's addresses of portraits end
        portrait.src = picture;
      }
      const out = make("button", "Sign out", { type: "button" });
      out.onclick = () => this.#signOut(out);
      this.#box.replaceChildren(portrait, make("span", name, { className: "name" }), out);
    }

    async #signOut(button) {
      button.disabled = true;
      this.#round++;
      try {
        const r = await fetch(keepin + "/logout", { method: "POST", credentials: "include", headers: { Accept: "application/json" } });
        if (!r.ok) throw new Error();
        this.#show(null);
      } catch {
        this.#fail("You are still signed in.", () => this.refresh());
      }
    }

    #fail(text, again) {
      const button = make("button", "Try again", { type: "button" });
      button.onclick = again;
      this.#box.replaceChildren(make("span", text), button);
    }

    #login() {
      const q = new URLSearchParams({ return_to: this.getAttribute("return-to") ?? here() });
      const scope = this.getAttribute("scope");
      if (scope) q.set("scope", scope);
      return keepin + "/login?" + q;
    }
  }

  if (!customElements.get("keepin-badge")) customElements.define("keepin-badge", KeepinBadge);
})();

// The sign-in page of a service with API keys. The key is kept in this tab's session storage until the tab is closed.

import { get, setKey } from "./api.js";
import { h, replace } from "./dom.js";
import { field } from "./parts.js";

const UNUSABLE = /[^\x20-\x7e\xa0-\xff]/u;  // a header cannot contain other characters

export function signIn(done, complaint = "") {
  const secret = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const problem = h("p", { class: "problem", role: "alert" }, complaint);
  const submit = h("button", { type: "submit", class: "button primary" }, "Sign in");
  const refuse = (message) => {
    replace(problem, message);
    submit.disabled = false;
    secret.focus();
    secret.select();
  };
  const form = h("form", { class: "signin", onsubmit: async (event) => {
    event.preventDefault();
    const value = secret.value.trim();
    const key = value.includes(":") ? value.slice(value.indexOf(":") + 1) : value;
    const foreign = key.match(UNUSABLE);
    if (foreign) return refuse(`The API key is not valid: a key cannot contain the character “${foreign[0]}”.`);
    setKey(key);
    submit.disabled = true;
    try {
      await get("/version");
      done();
    } catch (error) {
      setKey("");
      refuse(error.status === 401 ? "The API key is not valid." : error.message);
    }
  } },
    h("img", { src: new URL("logo.svg", import.meta.url).pathname, alt: "", width: 44, height: 44 }),
    h("h1", {}, "Sign in to Ostinato"),
    field("API key", secret, "The secret of an API key: the part after the colon in OSTINATO_API_KEYS. It is kept in this tab only."),
    problem, submit,
    h("p", { class: "small muted" }, h("a", { href: "/docs" }, "API reference")));
  setTimeout(() => secret.focus());
  return h("main", { class: "alone" }, form);
}

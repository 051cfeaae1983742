// The settings of the service and the names of its keys; read-only.

import { get } from "../api.js";
import { h } from "../dom.js";
import { badge, card, code, empty, header, later, table } from "../parts.js";
import { curl, python, shell, snippets } from "../snippets.js";

export async function view({ signal }) {
  const report = get("/v1/settings", { signal });
  return [
    header("Settings", "Read-only. Settings are environment variables; restart the programs to apply changes."),
    card("Keys in use", later(report, ({ keys }) => (keys.length ? table([
      { name: "Name", kind: "long", cell: (k) => h("span", {}, k.name, k.yours ? [" ", badge("yours", "busy")] : null) },
      { name: "May", cell: (k) => k.scopes.map((scope) => [badge(scope), " "]) },
    ], keys, { caption: "API keys" }) : empty("No API keys: only this machine can reach the service.", h("p", {}, code("ostinato keys"), " creates one."))))),
    card("Settings", later(report, ({ data }) => table([
      { name: "Variable", kind: "long", cell: (s) => code(s.variable) },
      { name: "Value", kind: "long", cell: (s) => (s.hidden ? badge("set, hidden") : h("span", {}, s.value === "" ? "–" : s.value, s.value !== s.default ? [" ", badge("changed", "busy")] : null)) },
      { name: "Meaning", kind: "long", cell: (s) => h("span", { class: "muted" }, s.meaning) },
    ], data, { caption: "Settings" }))),
    snippets({ curl: () => curl("GET", "/v1/settings"), python: () => python("GET", "/v1/settings"), cli: () => shell("ostinato", "settings") }),
  ];
}

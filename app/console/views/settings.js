// The settings of the service and the names of its keys; read-only.

import { get } from "../api.js";
import { h } from "../dom.js";
import { duration, number } from "../format.js";
import { badge, card, code, empty, header, later, table } from "../parts.js";
import { inline } from "../version/card.js";
import { curl, python, shell, snippets } from "../snippets.js";

const MIB = 2 ** 20;

// The value of a setting with its unit, or null if it has none. The value 0 often has a special meaning, which the description explains.
function withUnit({ variable, value }) {
  const size = Number(value);
  if (!(size > 0)) return null;
  if (/_(SECONDS|TIMEOUT)$/.test(variable)) return Number.isInteger(size) ? duration(size) : `${number(size)}\u202fs`;
  const memory = /_BYTES$/.test(variable) ? size / MIB : /_MEMORY$/.test(variable) ? size : 0;
  if (memory) return memory < 1024 ? `${number(memory)}\u202fMiB` : `${number(memory / 1024)}\u202fGiB`;
  return size >= 10000 && !variable.endsWith("_PORT") ? number(size) : null;
}

function valueOf(setting) {
  if (setting.hidden) return badge("set, hidden");
  const { value } = setting;
  const shown = withUnit(setting);
  return h("div", {}, shown || (value === "" ? "–" : value), value === setting.default ? null : [" ", badge("changed", "busy")],
    shown && parseFloat(shown) !== Number(value) ? h("div", { class: "small muted mono" }, value.replace(/\.0$/, "")) : null);
}

// A name in which the browser may break the line after each word.
const nameOf = (variable) => h("code", {}, variable.split(/(?<=_)/).flatMap((word) => [word, h("wbr")]));

export async function view({ signal }) {
  const report = get("/v1/settings", { signal });
  return [
    header("Settings", "Read-only. Settings are environment variables; restart the programs to apply changes."),
    card("Keys in use", later(report, ({ keys }) => (keys.length ? table([
      { name: "Name", kind: "long", cell: (k) => h("span", {}, k.name, k.yours ? [" ", badge("yours", "busy")] : null) },
      { name: "May", cell: (k) => k.scopes.map((scope) => [badge(scope), " "]) },
    ], keys, { caption: "API keys" }) : empty("No API keys: only this machine can reach the service.", h("p", {}, code("ostinato keys"), " creates one."))))),
    card("Settings", later(report, ({ data }) => table([
      { name: "Variable", kind: "long", cell: (s) => nameOf(s.variable) },
      { name: "Value", kind: "long", cell: valueOf },
      { name: "Meaning", kind: "long", cell: (s) => h("span", { class: "muted" }, inline(s.meaning)) },
    ], data, { caption: "Settings" }))),
    snippets({ curl: () => curl("GET", "/v1/settings"), python: () => python("GET", "/v1/settings"), cli: () => shell("ostinato", "settings") }),
  ];
}

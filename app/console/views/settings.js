// The settings of the service and the names of its keys; read-only.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { counted, duration, number } from "../format.js";
import { badge, card, code, empty, field, header, later, table } from "../parts.js";
import { inline } from "../version/card.js";
import { curl, python, shell, snippets } from "../snippets.js";

const MIB = 2 ** 20;
const PREFIX = "OSTINATO_";
// The groups of settings, each with its first setting in the order of the service.
export const GROUPS = [
  ["Address and storage", "HOST"], ["API keys", "API_KEYS"], ["Models in engines", "THREADS"], ["Limits on requests", "MAX_WAITING"],
  ["Training and stored results", "LEASE_SECONDS"], ["What clients may send", "DEFAULT_MODEL"], ["Webhooks", "WEBHOOK_NETWORKS"],
  ["Log and command line", "LOG_FORMAT"],
];

// The value of a setting with its unit, or null if it has none. The value 0 often has a special meaning, which the description explains.
function withUnit({ variable, value }) {
  const size = Number(value);
  if (!(size > 0)) return null;
  if (/_(SECONDS|TIMEOUT)$/.test(variable)) return Number.isInteger(size) ? duration(size) : `${number(size)}\u202fs`;
  const memory = /_BYTES$/.test(variable) ? size / MIB : /_MEMORY$/.test(variable) ? size : 0;
  if (memory) return memory < 1024 ? `${number(memory)}\u202fMiB` : `${number(memory / 1024)}\u202fGiB`;
  return size >= 10000 && !variable.endsWith("_PORT") ? number(size) : null;
}

const isChanged = (setting) => setting.hidden || setting.value !== setting.default;

function valueOf(setting) {
  if (setting.hidden) return badge("set, hidden");
  const { value } = setting;
  const shown = withUnit(setting);
  return h("div", {}, shown || (value === "" ? "–" : value), isChanged(setting) ? [" ", badge("changed", "busy")] : null,
    shown && parseFloat(shown) !== Number(value) ? h("div", { class: "small muted mono" }, value.replace(/\.0$/, "")) : null);
}

// A name in which the browser may break the line after each word.
const nameOf = (variable) => h("code", {}, variable.split(/(?<=_)/).flatMap((word) => [word, h("wbr")]));

const columns = [
  { name: "Variable", kind: "long", cell: (s) => nameOf(s.variable) },
  { name: "Value", kind: "long", cell: valueOf },
  { name: "Meaning", kind: "long", cell: (s) => h("span", { class: "muted" }, inline(s.meaning)) },
];

// Divides the settings at the first setting of each group.
function grouped(settings) {
  const groups = [];
  for (const setting of settings) {
    const [title] = GROUPS.find(([, first]) => setting.variable === PREFIX + first) || [];
    if (title || !groups.length) groups.push([title || "Other", []]);
    groups.at(-1)[1].push(setting);
  }
  return groups;
}

function group([title, settings], open) {
  const changed = settings.filter(isChanged).length;
  return h("details", { class: "group", open }, h("summary", {}, h("strong", {}, title), " ", h("span", { class: "small muted" }, counted(settings.length, "setting")),
    changed ? [" ", badge(`${changed} changed`, "busy")] : null), table(columns, settings, { caption: title }));
}

// The groups, which are folded up until the reader opens one or looks for a word.
function settingsCard(settings) {
  const box = h("div", { class: "stack" });
  const found = h("span", { class: "small muted", role: "status" });
  const word = h("input", { type: "search", placeholder: "Name or meaning", oninput: () => draw(), autocomplete: "off", spellcheck: "false" });
  const only = h("input", { type: "checkbox", onchange: () => draw() });
  function draw() {
    const text = word.value.trim().toLowerCase().replaceAll(" ", "_");
    const has = (setting) => `${setting.variable} ${setting.meaning}`.toLowerCase().replaceAll(" ", "_").includes(text);
    const shown = settings.filter((setting) => has(setting) && (!only.checked || isChanged(setting)));
    const all = shown.length === settings.length;
    const groups = grouped(settings).map(([title, own]) => [title, own.filter((setting) => shown.includes(setting))]).filter(([, own]) => own.length);
    replace(found, all ? null : counted(shown.length, "setting"));
    replace(box, groups.length ? groups.map((each) => group(each, !all)) : empty("No setting matches."));
  }
  draw();
  return [h("div", { class: "row" }, field("Find a setting", word), h("label", { class: "check" }, only, "Only changed ones"), found), box];
}

export async function view({ signal }) {
  const report = get("/v1/settings", { signal });
  return [
    header("Settings", "Read-only. Settings are environment variables; restart the programs to apply changes."),
    card("Keys in use", later(report, ({ keys }) => (keys.length ? table([
      { name: "Name", kind: "long", cell: (k) => h("span", {}, k.name, k.yours ? [" ", badge("yours", "busy")] : null) },
      { name: "May", cell: (k) => k.scopes.map((scope) => [badge(scope), " "]) },
    ], keys, { caption: "API keys" }) : empty("No API keys: only this machine can reach the service.", h("p", {}, code("ostinato keys"), " creates one."))))),
    card("Settings", later(report, ({ data }) => settingsCard(data))),
    snippets({ curl: () => curl("GET", "/v1/settings"), python: () => python("GET", "/v1/settings"), cli: () => shell("ostinato", "settings") }),
  ];
}

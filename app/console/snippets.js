// Code that does the same as a view: curl, Python and the command line.

import { copy, h, tabs } from "./parts.js";
import { key } from "./api.js";

const DEFAULTS = ["127.0.0.1:8000", "localhost:8000"];  // where the command line looks for the service
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const auth = () => (key() ? ` \\\n  -H "Authorization: Bearer $OSTINATO_API_KEY"` : "");

export function curl(method, path, body, extra = "") {
  const verb = method === "GET" || (method === "POST" && body) ? "" : ` -X ${method}`;
  const data = body ? ` \\\n  -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify(body))}` : "";
  return `curl -s${verb} ${quote(location.origin + path)}${auth()}${data}${extra}`;
}

// A request with a form. fields: {name: value}, in which a value @FILE is the content of a file.
export const form = (path, fields) =>
  `curl -s ${quote(location.origin + path)}${auth()}${Object.entries(fields).map(([name, value]) => ` \\\n  -F ${quote(`${name}=${value}`)}`).join("")}`;

const WORDS = { true: "True", false: "False", null: "None" };
const given = (values) => Object.entries(values).filter(([, value]) => value !== undefined);

// A value as Python code. Fields of an object that are undefined are left out, as in JSON.
export function literal(value, indent = "") {
  if (value === null || value === undefined || typeof value === "boolean") return WORDS[value ?? null];
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = indent + "    ";
  const list = Array.isArray(value);
  const items = list ? value.map((item) => literal(item, inner)) : given(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  const short = open + items.join(", ") + close;
  return short.length < 80 ? short : `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

// The arguments of a call in Python. Fields that a package does not define belong in `extra`, which is sent unchanged.
export function args(values, extra = {}) {
  const more = given(extra).length ? { extra_body: extra } : {};
  const items = given({ ...values, ...more }).map(([name, value]) => `${name}=${literal(value, "    ")}`);
  const short = `(${items.join(", ")})`;
  return short.length < 80 && !short.includes("\n") ? short : `(\n${items.map((item) => `    ${item},\n`).join("")})`;
}

export const secret = () => (key() ? 'os.environ["OSTINATO_API_KEY"]' : '"none"');
export const imports = (...lines) => `${key() ? "import os\n" : ""}${lines.join("\n")}\n\n`;

// Several commands of the shell, each below a comment. steps: [comment, command]
export const commented = (...steps) => steps.filter(Boolean).map(([note, command]) => `# ${note}\n${command}`).join("\n");

// Requests with httpx, whose replies are printed. calls: [method, path, body, comment]
export function requests(...calls) {
  const lines = calls.filter(Boolean).map(([method, path, body, note]) =>
    `${note ? `# ${note}\n` : ""}reply = client.${method.toLowerCase()}(${JSON.stringify(path)}${body ? `, json=${literal(body)}` : ""})\nprint(reply.json())`);
  const headers = key() ? `, headers={"Authorization": "Bearer " + ${secret()}}` : "";
  return `${imports("import httpx")}client = httpx.Client(base_url=${JSON.stringify(location.origin)}${headers}, timeout=600)\n${lines.join("\n")}`;
}

export function python(method, path, body) {
  const headers = key() ? `, headers={"Authorization": "Bearer " + ${secret()}}` : "";
  const data = body ? `, json=${literal(body)}` : "";
  return `${imports("import httpx")}reply = httpx.${method.toLowerCase()}(${JSON.stringify(location.origin + path)}${data}${headers}, timeout=600)\nprint(reply.json())`;
}

export const openai = (lines) =>
  `${imports("from openai import OpenAI")}client = OpenAI(base_url=${JSON.stringify(location.origin + "/v1")}, api_key=${secret()})\n${lines}`;

// A command line. Empty words are left out.
export function shell(...words) {
  return words.filter((word) => word !== "" && word !== undefined).map((word) => (/^[\w@:./=,-]+$/.test(word) ? word : quote(String(word)))).join(" ");
}
// The texts at the end of a command line: after `--` if one of them could be read as an option.
export const texts = (...values) => (values.some((value) => value.startsWith("-")) ? ["--", ...values] : values);
// The options of a command, such as --top-k 5, --flag or --no-flag, from {top_k: 5, flag: true}.
export const flags = (values) => given(values).flatMap(([name, value]) => {
  const flag = name.replaceAll(/[._]/g, "-");
  if (typeof value === "boolean") return [`--${value ? "" : "no-"}${flag}`];
  const text = String(value);
  return text.startsWith("-") ? [`--${flag}=${text}`] : [`--${flag}`, text];
});

// The flags for the columns of a request: --text-column, --label-column and so on.
export const columnFlags = (columns) => Object.fromEntries(Object.entries(columns || {}).map(([role, name]) => [`${role}_column`, name]));

const address = () => (DEFAULTS.includes(location.host) ? "" : `export OSTINATO_URL=${location.origin}\n`);

function pane(text) {
  const box = h("pre", { tabindex: "0" }, h("code", {}, text));
  return h("div", { class: "code" }, box, h("button", { type: "button", class: "button small", onclick: () => copy(text) }, "Copy"));
}

// lines: {curl, python, cli}, each a text or a function that returns it when the snippet is opened
export function snippets(lines, name = "Do the same with curl, Python or the command line") {
  const details = h("details", { class: "snippets" }, h("summary", {}, name));
  const names = { curl: "curl", python: "Python", cli: "Command line", openai: "openai package" };
  details.addEventListener("toggle", () => {
    details.querySelector(".tabs")?.remove();
    if (!details.open) return;
    const panes = Object.entries(lines).map(([kind, text]) => [kind, typeof text === "function" ? text() : text]).filter(([, text]) => text)
      .map(([kind, text]) => [names[kind] || kind, () => pane(kind === "cli" ? address() + text : text)]);
    details.append(tabs(panes));
  });
  return details;
}

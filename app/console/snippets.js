// Code that does the same as a view: curl, Python and the command line.

import { copy, h, tabs } from "./parts.js";
import { key } from "./api.js";

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const auth = () => (key() ? ` \\\n  -H "Authorization: Bearer $OSTINATO_API_KEY"` : "");

export function curl(method, path, body, extra = "") {
  const verb = method === "GET" || (method === "POST" && body) ? "" : ` -X ${method}`;
  const data = body ? ` \\\n  -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify(body))}` : "";
  return `curl -s${verb} ${quote(location.origin + path)}${auth()}${data}${extra}`;
}

const WORDS = { true: "True", false: "False", null: "None" };
function literal(value, indent = "") {
  if (value === null || typeof value === "boolean") return WORDS[value];
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = indent + "    ";
  const list = Array.isArray(value);
  const items = Object.entries(value).map(([name, item]) => (list ? "" : `${JSON.stringify(name)}: `) + literal(item, inner));
  const [open, close] = list ? "[]" : "{}";
  const short = open + items.join(", ") + close;
  return short.length < 80 ? short : `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

export function python(method, path, body) {
  const headers = key() ? `, headers={"Authorization": "Bearer " + os.environ["OSTINATO_API_KEY"]}` : "";
  const data = body ? `, json=${literal(body)}` : "";
  return `${key() ? "import os\n" : ""}import httpx\n\nreply = httpx.${method.toLowerCase()}("${location.origin}${path}"${data}${headers}, timeout=600)\nprint(reply.json())`;
}

export const openai = (lines) =>
  `${key() ? "import os\n" : ""}from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key=${key() ? 'os.environ["OSTINATO_API_KEY"]' : '"none"'})\n${lines}`;

export const shell = (...words) => words.filter((w) => w !== "").map((w) => (/^[\w@:./=,-]+$/.test(w) ? w : quote(w))).join(" ");

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
    const panes = Object.entries(lines).filter(([, text]) => text)
      .map(([kind, text]) => [names[kind] || kind, () => pane(typeof text === "function" ? text() : text)]);
    details.append(tabs(panes));
  });
  return details;
}

// The list of models, each with its newest version.

import { h, replace } from "../dom.js";
import { architecture, compact, title } from "../format.js";
import { header, link, tag, when } from "../parts.js";
import { curl, python, shell, snippets } from "../snippets.js";
import { paged } from "./jobs.js";
import { quality } from "../quality.js";

export const modelLink = (name) => link(name, `#/models/${encodeURIComponent(name)}`);
const aliasTags = (name, aliases) => Object.entries(aliases).map(([alias, version]) => [tag(`${alias} → ${version}`, `#/models/${encodeURIComponent(name)}`), " "]);

const columns = [
  { name: "Model", kind: "long", cell: (m) => modelLink(m.name) },
  { name: "Task", cell: (m) => (m.latest ? title(m.latest.task) : "–") },
  { name: "Architecture", cell: (m) => architecture(m.latest?.architecture || "–") },
  { name: "Versions", kind: "number", cell: (m) => m.versions },
  { name: "Aliases", cell: (m) => (Object.keys(m.aliases).length ? aliasTags(m.name, m.aliases) : "–") },
  { name: "Quality of the newest", cell: (m) => (m.latest ? quality(m.latest) : "–") },
  { name: "Parameters", kind: "number", narrow: false, cell: (m) => compact(m.latest?.parameters) },
  { name: "Updated", kind: "nowrap", cell: (m) => when(m.latest?.created_at || m.created_at) },
];

export async function view({ signal, search }) {
  const box = h("section", { class: "card" });
  const list = (text) => replace(box, paged("/v1/registry/models", columns, signal, {
    values: { search: text }, caption: "Models", blank: text ? `No model names contain “${text}”.` : "No models yet. Start a training job to create one." }));
  let timer;
  const input = h("input", { type: "search", placeholder: "Part of a name", "aria-label": "Search models", value: search.get("search") || "",
    oninput: () => { clearTimeout(timer); timer = setTimeout(() => list(input.value.trim()), 250); } });
  list(input.value);
  return [
    header("Models", "Each training job creates a new, immutable version of a model. Aliases determine which version answers requests.", input),
    box,
    snippets({
      curl: () => curl("GET", "/v1/registry/models"),
      python: () => python("GET", "/v1/registry/models"),
      cli: () => shell("ostinato", "models"),
    }),
  ];
}

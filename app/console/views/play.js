// The playground: classification, generation and embeddings with the models of this service.

import { all } from "../api.js";
import { h, replace } from "../dom.js";
import { empty, field, header, tabs } from "../parts.js";
import { classifyPane } from "../play/classify.js";
import { embedPane } from "../play/embed.js";
import { generatePane } from "../play/generate.js";

export async function view({ search, signal }) {
  const versions = (await all("/v1/registry/versions", {}, 300, { signal })).filter((v) => v.status === "ready");
  const wanted = search.get("model");
  const context = { versions, wanted, signal, text: search.get("text") || "" };
  if (!versions.length && !wanted) return [header("Playground", "Try models with your own input."),
    empty("No models yet.", h("a", { class: "button primary", href: "#/train" }, "Train one"))];
  const generates = versionOf(context, wanted)?.task === "generation";
  return [
    header("Playground", "Try models with your own input. Your input is stored only in this browser."),
    tabs([["Classify", () => classifyPane(context)], ["Generate", () => generatePane(context)], ["Embed", () => embedPane(context)]], generates ? 1 : 0),
  ];
}

export function versionOf({ versions }, reference) {
  if (!reference) return undefined;
  const [name, rest] = reference.split(/[:@]/);
  const own = versions.filter((v) => v.model === name);
  if (reference.includes(":")) return own.find((v) => v.version === Number(rest));
  return own.find((v) => v.aliases.includes(rest || "champion")) || own[0];
}

// The playground: classification, generation and embeddings with the models of this service.

import { h } from "../dom.js";
import { empty, header, tabs } from "../parts.js";
import { classifyPane } from "../play/classify.js";
import { embedPane } from "../play/embed.js";
import { generatePane } from "../play/generate.js";
import { find, newest } from "../versions.js";

const TASKS = ["classification", "multilabel", "regression", "generation"];
const LISTED = 50;  // versions of each task

export async function view({ search, signal }) {
  const wanted = search.get("model");
  const [found, ...lists] = await Promise.all([wanted ? find(wanted, signal) : null, ...TASKS.map((task) => newest(signal, { task, limit: LISTED }))]);
  const versions = lists.flatMap((list) => list.versions).sort((a, b) => b.created_at - a.created_at);
  if (found && !wanted.startsWith("ftckpt-") && !versions.some((v) => v.id === found.id)) versions.push(found);
  const context = { versions, wanted, found, signal, text: search.get("text") || "", limits: Object.fromEntries(search), more: new Set(TASKS.filter((_, i) => lists[i].more)) };
  const top = header("Playground", "Try models with your own input. Your input is stored only in this browser.");
  const missing = wanted && !found ? h("p", { class: "notice bad", role: "alert" }, `${wanted} does not exist, or it is not ready. Choose another version.`) : null;
  if (!versions.length && !found) return [top, missing, empty("No models yet.", h("a", { class: "button primary", href: "#/train" }, "Train one"))];
  return [top, missing,
    tabs([["Classify", () => classifyPane(context)], ["Generate", () => generatePane(context)], ["Embed", () => embedPane(context)]], found?.task === "generation" ? 1 : 0)];
}

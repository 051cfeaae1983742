// Embeddings: the similarity of the texts in a list.

import { post } from "../api.js";
import { h, replace } from "../dom.js";
import { number } from "../format.js";
import { action, empty, field } from "../parts.js";
import { args, curl, flags, openai, shell, snippets, texts } from "../snippets.js";
import { History, isUsable, modelField, reference } from "./models.js";

const TASKS = ["classification", "multilabel", "regression", "generation"];
const MOST = 30;
const STRONGEST = 45;  // per cent

export function embedPane({ versions, ...rest }) {
  const refuses = (v) => v.architecture === "linear";  // linear models have no embeddings
  const context = { ...rest, refuses, versions: versions.filter((v) => !refuses(v)) };
  if (rest.found && refuses(rest.found)) Object.assign(context, { wanted: null, found: null });
  if (!isUsable(context, TASKS)) return empty("No models with embeddings yet. Linear models have none.", h("a", { class: "button", href: "#/train" }, "Train one"));
  const { control: model, element: modelBox } = modelField(context, TASKS);
  const history = new History("embed");
  const text = h("textarea", { rows: 5, value: "", placeholder: "One text per line, at least two" });
  const result = h("div", { class: "stack", "aria-live": "polite" });
  const lines = () => text.value.split("\n").map((line) => line.trim()).filter(Boolean).slice(0, MOST);
  const shown = () => (lines().length ? request() : { ...request(), input: ["some text", "another text"] });
  const request = () => ({ model: model.value || "MODEL", input: lines() });
  const run = action("Compare", async () => {
    if (lines().length < 2) throw new Error("Enter at least two texts, one per line.");
    reference(model);
    history.push({ text: text.value });
    const { data } = await post("/v1/embeddings", request(), { signal: context.signal });
    replace(result, matrix(lines(), data.map((item) => item.embedding)));
  }, "primary");
  return h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Request" }, h("div", { class: "fields" }, modelBox),
    field("Texts", text, `Shows the cosine similarity of each pair of up to ${MOST} texts.`), h("div", { class: "row" }, run),
    history.element((item) => { text.value = item.text; }, (item) => item.text)), result,
  snippets({
    curl: () => curl("POST", "/v1/embeddings", shown()),
    openai: () => openai(`reply = client.embeddings.create${args(shown())}\nprint(len(reply.data[0].embedding))`),
    cli: () => {
      const { model: reference_, input } = shown();
      return shell("ostinato", "embed", ...flags({ model: reference_ }), ...texts(...input));
    },
  }));
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

function matrix(texts, vectors) {
  const shorten = (line) => (line.length > 40 ? line.slice(0, 40) + "…" : line);
  const cell = (value) => h("td", {}, h("span", { class: "cell", style: shade(Math.max(0, value)) }, number(value, 2)));
  return h("section", { class: "card" }, h("h2", {}, "Similarity"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Similarity" }, h("table", { class: "matrix" },
    h("caption", { class: "hidden-visually" }, "Cosine similarity of each pair of texts"),
    h("thead", {}, h("tr", {}, h("td"), texts.map((_, i) => h("th", { scope: "col" }, i + 1)))),
    h("tbody", {}, vectors.map((a, i) => h("tr", {}, h("th", { scope: "row", title: texts[i] }, `${i + 1}. ${shorten(texts[i])}`), vectors.map((b) => cell(dot(a, b)))))))));
}

// The background of a cell whose value is a share from 0 to 1. Even the strongest background leaves the text readable in
// both colour schemes.
export function shade(share, colour = "--accent") {
  return { background: `color-mix(in srgb, var(${colour}) ${Math.round(share * STRONGEST)}%, var(--panel))` };
}

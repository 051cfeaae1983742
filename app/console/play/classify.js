// Classification: bars for each label, prediction sets, several texts, and several versions side by side.

import { post } from "../api.js";
import { h, replace } from "../dom.js";
import { number, percent } from "../format.js";
import { action, badge, bars, card, empty, failure, field, select } from "../parts.js";
import { curl, flags, requests, shell, snippets, texts } from "../snippets.js";
import { History, isUsable, modelField, othersField, reference, versionOf } from "./models.js";

const TASKS = ["classification", "multilabel", "regression"];
const MOST_BARS = 8;
const VERSION = /\b[a-z0-9][a-z0-9._-]*:\d+\b/g;  // such as mail:3

export function classifyPane(context) {
  if (!isUsable(context, TASKS)) return empty("No classification models yet.", h("a", { class: "button", href: "#/train" }, "Train one"));
  const history = new History("classify");
  const { control: model, element: modelBox } = modelField(context, TASKS, () => shape());
  const others = othersField(context, TASKS);
  const text = h("textarea", { rows: 4, value: context.text, placeholder: "One text per line" });
  const pair = h("textarea", { rows: 2, placeholder: "The second text of each pair, one per line" });
  const coverage = select([["", "None"], ["0.8", "80 %"], ["0.9", "90 %"], ["0.95", "95 %"], ["0.99", "99 %"]], "", () => {});
  const abstain = h("input", { type: "number", min: 0, max: 1, step: "any", value: context.limits.abstain_below ?? "", placeholder: "never" });
  const risk = h("input", { type: "number", min: 0, max: 100, step: "any", value: inPercent(context.limits.max_risk), placeholder: "no limit" });
  const results = h("div", { class: "stack", "aria-live": "polite" });
  const textField = field("Texts", text, "");
  const help = h("span", { class: "small muted" });
  textField.append(help);
  const pairField = field("Second texts", pair);
  function shape() {
    const version = versionOf(context, model.value);
    const numeric = version?.config.input === "features";
    help.textContent = numeric ? "JSON: one series as [[step, step, …]]; each step is a list of numbers." : "One text per line. Press Ctrl+Enter to send.";
    text.placeholder = numeric ? "[[0.1, 0.2], [0.3, 0.1]]" : "One text per line";
    return { numeric };
  }
  const request = (id) => optionsOf(id, inputOf(text.value, pair.value, shape().numeric));
  const optionsOf = (id, input) => {
    return clean({ model: id, input, prediction_set: coverage.value ? Number(coverage.value) : undefined, abstain_below: abstain.value ? Number(abstain.value) : undefined,
      max_risk: risk.value ? Number((Number(risk.value) / 100).toPrecision(12)) : undefined });
  };
  // The models and the request in the code snippets, with placeholders until a model and a text have been chosen.
  const models = () => [...new Set([model.value || "MODEL", ...others.chosen])];
  const shown = (id) => {
    try { return request(id); } catch { return optionsOf(id, shape().numeric ? [[[0]]] : ["some text"]); }
  };
  const send = async () => {
    risk.setAttribute("aria-invalid", outOfBounds(risk));
    if (outOfBounds(risk)) throw new Error("Enter a maximum error rate above 0 and below 100 %.");
    const chosen = [...new Set([reference(model), ...others.chosen])];
    replace(results, h("p", { class: "loading" }, "Classifying… The first request also loads the model."));
    history.push({ text: text.value, pair: pair.value });
    const replies = await Promise.all(chosen.map((id) => post("/v1/classify", request(id), { signal: context.signal }).catch((error) => ({ error }))));
    const texts = shape().numeric ? ["Series"] : text.value.split("\n").filter((line) => line.trim());
    const answers = chosen.map((id, i) => ({ id, reply: replies[i] }));
    const refused = answers.filter(({ reply }) => reply.error);
    const given = answers.filter(({ reply }) => !reply.error);
    replace(results, refusals(refused, chosen.length > 1), given.length ? texts.map((line, i) => resultCard(line, given, chosen.length > 1, i)) : null);
  };
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run.click(); });
  const run = action("Classify", send, "primary");
  shape();
  return h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Request" },
    h("div", { class: "fields" }, modelBox, others.element, field("Prediction set", coverage, "Show a set of labels that contains the true label with this probability."), field("Abstain below", abstain, "No label is assigned below this probability."),
      field("Maximum error rate, guaranteed, in %", risk, "Uncertain texts get no label. Requests fail if too few rows were held out for the guarantee.")),
    textField, h("details", { class: "more" }, h("summary", {}, "Pairs of texts"), pairField), h("div", { class: "row" }, run),
    history.element((item) => { text.value = item.text; pair.value = item.pair || ""; }, (item) => item.text)), results,
  snippets({
    curl: () => models().map((id) => curl("POST", "/v1/classify", shown(id))).join("\n"),
    python: () => requests(...models().map((id) => ["POST", "/v1/classify", shown(id)])),
    cli: () => (shape().numeric ? "" : models().flatMap((id) => commands(shown(id))).join("\n")),
  }));
}

// The command lines for a request. The command reads one pair of texts at a time.
function commands({ input, ...options }) {
  const command = (...words) => shell("ostinato", "classify", ...flags(options), ...words);
  return input[0].text_pair === undefined ? [command(...texts(...input))] : input.map((item) => command("--pair", ...texts(item.text, item.text_pair)));
}

// The limits in an error about the maximum error rate are shares in the API, and per cent in the field.
function inUnitOfField(error) {
  if (error.param === "max_risk") error.message = error.message.replace(/(?<=\s)(0\.\d+|\d(?:\.\d+)?e-\d+)(?=[\s;,.]|$)/g, (share) => `${inPercent(share)}\u202f%`).replaceAll("max_risk", "the maximum error rate");
  return error;
}

const outOfBounds = ({ value, validity }) => validity.badInput || (value !== "" && !(Number(value) > 0 && Number(value) < 100));

const inPercent = (share) => (share ? Number((Number(share) * 100).toPrecision(12)) : "");
const clean = (value) => JSON.parse(JSON.stringify(value));

function inputOf(text, pair, numeric) {
  if (numeric) {
    const value = JSON.parse(text);
    return Array.isArray(value[0]?.[0]) ? value : [value];
  }
  const lines = text.split("\n").filter((line) => line.trim());
  const seconds = pair.split("\n").filter((line) => line.trim());
  if (!lines.length) throw new Error("Enter a text first.");
  if (!seconds.length) return lines;
  if (seconds.length !== lines.length) throw new Error(`There are ${lines.length} texts, but ${seconds.length} second texts.`);
  return lines.map((line, i) => ({ text: line, text_pair: seconds[i] }));
}

// The errors of the versions that did not answer. An error concerns all texts. An error that differs between versions only in
// their names is shown once.
function refusals(list, several) {
  const common = ({ reply }) => inUnitOfField(reply.error).message.replace(VERSION, "each of these versions");
  return [...new Set(list.map(common))].map((message) => {
    const same = list.filter((each) => common(each) === message);
    const [{ reply: { error } }] = same;
    if (same.length > 1) error.message = message;
    return h("div", { class: "stack" }, several ? h("h3", {}, same.map(({ id }) => id).join(", ")) : null, failure(error));
  });
}

function resultCard(text, answers, several, index) {
  return card("", h("p", { class: "quoted" }, text), h("div", { class: "columns several" }, answers.map(({ id, reply }) => h("div", { class: "stack" },
    several ? h("h3", {}, id) : null, resultOf(reply.data[index])))));
}

function resultOf(item) {
  if (item.value !== null && item.value !== undefined) return [h("p", { class: "stat" }, h("strong", {}, number(item.value))),
    item.interval ? h("p", { class: "muted" }, `between ${number(item.interval[0])} and ${number(item.interval[1])}`) : null];
  const chosen = item.labels || (item.label === null ? [] : [item.label]);
  const shown = item.scores.slice(0, MOST_BARS).map(({ label, score }) => ({ name: label, value: score, text: percent(score), marked: chosen.includes(label) }));
  return [
    item.abstained ? h("p", {}, badge("abstained", "warn"), " no label is probable enough") : null,
    bars(shown, { most: 1, label: "Probabilities" }),
    item.scores.length > MOST_BARS ? h("p", { class: "small muted" }, `and ${item.scores.length - MOST_BARS} more labels`) : null,
    item.set ? h("p", { class: "row" }, h("span", { class: "muted small" }, "Prediction set:"), item.set.map((label) => badge(label, "busy"))) : null,
  ];
}

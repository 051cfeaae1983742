// Generation: streaming, a stop button, sampling options, and the probability of each token.

import { stream } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { number } from "../format.js";
import { button, empty, field, toast } from "../parts.js";
import { args, curl, flags, openai, shell, snippets, texts } from "../snippets.js";
import { History, isUsable, modelField } from "./models.js";
import { Tokens } from "./tokens.js";

const SAMPLING = [
  ["max_tokens", "Maximum tokens", 120, 1], ["temperature", "Temperature", 0.8, 0.1], ["top_p", "Top p", "", 0.05], ["top_k", "Top k", "", 1],
  ["repetition_penalty", "Repetition penalty", "", 0.05], ["seed", "Seed", "", 1],
];

export function generatePane(context) {
  if (!isUsable(context, ["generation"])) return empty("No generation models yet.", h("p", {}, "Train one on a plain text file."), h("a", { class: "button", href: "#/train" }, "Train one"));
  const history = new History("generate");
  const { control: model, element: modelBox } = modelField(context, ["generation"]);
  const prompt = h("textarea", { rows: 3, value: context.text, placeholder: "The beginning of a text" });
  const controls = Object.fromEntries(SAMPLING.map(([name, , value, step]) => [name, h("input", { type: "number", value, step, min: 0, placeholder: "default" })]));
  const stops = h("input", { placeholder: "none" });
  const output = new Tokens();
  const facts = h("p", { class: "small muted", role: "status" });
  let running = null;
  const request = () => {
    const body = { model: model.value || "MODEL", prompt: prompt.value };
    for (const [name] of SAMPLING) if (controls[name].value !== "") body[name] = Number(controls[name].value);
    if (stops.value) body.stop = stops.value.replaceAll("\\n", "\n");
    return body;
  };
  const stop = button("Stop", () => running?.abort());
  const go = button("Generate", generate, "primary");
  stop.disabled = true;

  async function generate() {
    if (!model.value) return toast("Choose a model first.", "bad");
    running = new AbortController();
    context.signal.addEventListener("abort", () => running?.abort());
    [go.disabled, stop.disabled] = [true, false];
    output.begin(prompt.value);
    history.push({ text: prompt.value });
    replace(facts, "Waiting for the first token. The first request also loads the model.");
    const began = performance.now();
    const counts = { tokens: 0, first: 0, reason: "" };
    try {
      const body = { ...request(), stream: true, logprobs: 3 };
      await stream("POST", "/v1/completions", { body, signal: running.signal }, ({ data }) => receive(data, counts, began));
    } catch (error) {
      if (error.name === "AbortError") counts.reason = "stopped";
      else toast(error.message, "bad");
    }
    finish(counts, began);
  }

  function receive(data, counts, began) {
    if (data === "[DONE]") return;
    const value = JSON.parse(data);
    if (value.error) throw new Error(value.error.message);
    const [choice] = value.choices;
    if (!choice) return;
    counts.first ||= performance.now() - began;
    counts.reason = choice.finish_reason || counts.reason;
    counts.tokens += choice.logprobs?.tokens?.length || 0;
    if (choice.text) output.add(choice);
    replace(facts, `${counts.tokens} tokens`);
  }

  function finish(counts, began) {
    running = null;
    [go.disabled, stop.disabled] = [false, true];
    const seconds = (performance.now() - began) / 1000;
    const reasons = { length: "reached the token limit", stop: "end of text", stopped: "stopped" };
    const text = [`${counts.tokens} tokens in ${number(seconds, 2)} s`, counts.first ? `first token after ${Math.round(counts.first)} ms` : "", reasons[counts.reason] || counts.reason].filter(Boolean).join(" · ");
    replace(facts, text);
    announce(text);
  }

  prompt.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go.click(); });
  return h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Request" },
    h("div", { class: "fields" }, modelBox), field("Prompt", prompt, "Ctrl+Enter sends."),
    h("details", { class: "more" }, h("summary", {}, "Sampling"), h("div", { class: "fields" }, SAMPLING.map(([name, title]) => field(title, controls[name])), field("Stop at", stops, "Write \\n for a line break."))),
    h("div", { class: "row" }, go, stop, facts), output.element,
    history.element((item) => { prompt.value = item.text; }, (item) => item.text)),
  snippets({
    curl: () => curl("POST", "/v1/completions", { ...request(), stream: true }, " -N"),
    openai: () => {
      const { top_k, repetition_penalty, ...known } = request();
      return openai(`stream = client.completions.create${args({ ...known, stream: true }, { top_k, repetition_penalty })}\nfor chunk in stream:\n    print(chunk.choices[0].text, end="", flush=True)`);
    },
    cli: () => {
      const { prompt: beginning, ...options } = request();
      return shell("ostinato", "generate", ...flags(options), ...texts(beginning || "Once upon a time"));
    },
  }));
}

// The tokens of a generated text, each with its probability: on hover, with the keyboard, and by touch.

import { h, replace } from "../dom.js";
import { percent } from "../format.js";

const HELP = "Select a token to see its probability; with the keyboard, use the arrow keys.";

export class Tokens {
  constructor() {
    this.texts = new WeakMap();  // token -> its probability in words
    this.output = h("div", { class: "output", role: "group", tabindex: "0", "aria-label": "Generated text",
      onclick: (event) => this.tell(event.target), onfocusin: (event) => this.tell(event.target), onkeydown: (event) => this.step(event) });
    this.note = h("p", { class: "small muted chance", role: "status" });
    this.element = h("div", { class: "stack" }, this.output, this.note);
  }

  begin(prompt) {
    replace(this.output, h("span", { class: "prompt" }, prompt));
    replace(this.note);
  }

  // Adds a piece of the text, with the probabilities of its tokens if the piece is exactly their text.
  add(choice) {
    const tokens = choice.logprobs?.tokens || [];
    if (tokens.length === 1) this.output.append(this.token(choice.text, choice.logprobs, 0));
    else if (tokens.length && tokens.join("") === choice.text) this.output.append(...tokens.map((text, i) => this.token(text, choice.logprobs, i)));
    else this.output.append(choice.text);
    if (tokens.length && !this.note.firstChild) replace(this.note, HELP);
  }

  token(text, { token_logprobs: chances, top_logprobs: tops }, i) {
    const likely = Object.entries(tops?.[i] || {}).sort((a, b) => b[1] - a[1]).map(([other, p]) => `${JSON.stringify(other)} ${percent(Math.exp(p))}`);
    const chance = percent(Math.exp(chances[i] ?? 0));
    const first = !this.output.querySelector(".token");
    const element = h("span", { class: "token", role: "button", tabindex: first ? 0 : -1, title: `${chance}${likely.length ? `  of ${likely.join(", ")}` : ""}` }, text);
    this.texts.set(element, `${JSON.stringify(text)}: ${chance}.${likely.length ? ` Most likely: ${likely.join(", ")}.` : ""}`);
    return element;
  }

  tell(element) {
    const text = this.texts.get(element);
    if (text) replace(this.note, text);
  }

  step(event) {
    const tokens = [...this.output.querySelectorAll(".token")];
    const places = { ArrowRight: 1, ArrowLeft: -1, Home: -tokens.length, End: tokens.length };
    if (!(event.key in places) || !tokens.length) return;
    event.preventDefault();
    const now = tokens.indexOf(document.activeElement);
    const next = tokens[Math.max(0, Math.min(tokens.length - 1, now + places[event.key]))];
    for (const token of tokens) token.tabIndex = token === next ? 0 : -1;
    next.focus();
  }
}

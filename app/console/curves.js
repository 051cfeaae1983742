// Collects the metrics of a job's events into the curves of its plots.

import { title } from "./format.js";
import { tooFew } from "./quality.js";

const NOT_CURVES = new Set(["step", "total_steps", "progress", "seconds_left", "valid_rows", "trained_tokens", "full_valid_loss", "full_valid_mean_token_accuracy"]);
const NAMES = {
  train_loss: "Training loss", valid_loss: "Validation loss", train_mean_token_accuracy: "Training accuracy",
  valid_mean_token_accuracy: "Validation accuracy", macro_f1: "Validation macro F1", lr: "Learning rate", tokens_per_second: "Tokens per second",
};
export const curveName = (key) => NAMES[key] || `Validation ${title(key)}`;

const LOSSES = ["train_loss", "valid_loss"];
const RATES = new Set(["accuracy", "macro_f1", "micro_f1", "valid_mean_token_accuracy"]);
const SPEED = ["lr", "tokens_per_second"];

export class Curves {
  constructor() {
    this.points = new Map();
    this.steps = 0;
  }

  add(data) {
    if (typeof data.step !== "number") return;
    this.steps = Math.max(this.steps, data.step);
    for (const [key, value] of Object.entries(data)) {
      if (NOT_CURVES.has(key) || typeof value !== "number" || (RATES.has(key) && tooFew(data.valid_rows))) continue;
      const known = this.points.get(key) || [];
      if (!known.length) this.points.set(key, known);
      if (!known.length || known[known.length - 1][0] < data.step) known.push([data.step, value]);
    }
  }

  get(keys, rename = curveName) {
    return keys.filter((key) => this.points.has(key)).map((key) => ({ name: rename(key), points: this.points.get(key) }));
  }

  losses() { return this.get(LOSSES); }
  metrics() {
    const [training, ...others] = ["train_mean_token_accuracy", "valid_mean_token_accuracy"];
    const rest = [...this.points.keys()].filter((key) => ![...LOSSES, ...SPEED, training, ...others].includes(key)).slice(0, 2);
    return this.get([training, ...others, ...rest]);
  }
  speed() { return this.get(["lr"]); }
}

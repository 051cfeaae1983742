// Collects the metrics of a job's events into the curves of its plots.

import { phrase } from "./format.js";
import { tooFew } from "./quality.js";

const NOT_CURVES = new Set(["step", "total_steps", "progress", "seconds_left", "valid_rows", "trained_tokens", "full_valid_loss", "full_valid_mean_token_accuracy"]);
const NAMES = {
  train_loss: "Training loss", valid_loss: "Validation loss", train_mean_token_accuracy: "Training accuracy",
  valid_mean_token_accuracy: "Validation accuracy", macro_f1: "Validation macro F1", lr: "Learning rate", tokens_per_second: "Tokens per second",
};
export const curveName = (key) => NAMES[key] || `Validation ${phrase(key)}`;

const LOSSES = ["train_loss", "valid_loss"];
const RATES = new Set(["accuracy", "macro_f1", "micro_f1", "valid_mean_token_accuracy"]);
const ACCURACIES = ["train_mean_token_accuracy", "valid_mean_token_accuracy"];
const SCALES = ["bits_per_character", "r2", "mae"];
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
      const points = this.points.get(key) || [];
      if (!points.length) this.points.set(key, points);
      if (!points.length || points[points.length - 1][0] < data.step) points.push([data.step, value]);
    }
  }

  get(keys, rename = curveName) {
    return keys.filter((key) => this.points.has(key)).map((key) => ({ name: rename(key), points: this.points.get(key) }));
  }

  losses() { return this.get(LOSSES); }

  // The metrics of one scale: that of the first of SCALES which has a curve, otherwise the accuracies.
  scale() {
    const alone = SCALES.find((key) => this.points.has(key));
    if (alone) return [alone];
    const rest = [...this.points.keys()].filter((key) => ![...LOSSES, ...SPEED, ...ACCURACIES].includes(key)).slice(0, 2);
    return [...ACCURACIES, ...rest];
  }
  metrics() { return this.get(this.scale()); }
  shows(key) { return SCALES.some((other) => this.points.has(other)) ? this.scale().includes(key) : !SCALES.includes(key); }
  speed() { return this.get(["lr"]); }
}

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
const MEANS = new Set(["train_loss", "train_mean_token_accuracy"]);  // each value is the mean over the steps since the previous report
const SHORT = 0.75;  // a window is short if it has less than this share of the usual number of steps
const DOTTED = new Set(["macro_f1"]);  // often equal to the accuracy, which must remain visible below it

// Joins the windows of a curve that are shorter than the others, such as the single step between a report and an
// evaluation: their means are so uncertain that they would look like spikes. The mean of joined windows is weighted by steps.
export function evened(points) {
  const steps = points.map(([step], i) => step - (i ? points[i - 1][0] : 0));
  const least = [...steps].sort((a, b) => a - b)[(steps.length - 1) >> 1] * SHORT;
  const joined = [];
  let open = null;  // a window that is still too short
  points.forEach(([step, value], i) => {
    open = open ? { step, steps: open.steps + steps[i], sum: open.sum + value * steps[i] } : { step, steps: steps[i], sum: value * steps[i] };
    if (open.steps < least) return;
    joined.push(open);
    open = null;
  });
  if (open && joined.length) {
    const last = joined.pop();
    open = { step: open.step, steps: last.steps + open.steps, sum: last.sum + open.sum };
  }
  return [...joined, ...(open ? [open] : [])].map((window) => [window.step, window.sum / window.steps]);
}

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
    return keys.filter((key) => this.points.has(key)).map((key) => {
      const points = this.points.get(key);
      return { name: rename(key), points: MEANS.has(key) ? evened(points) : points, dotted: DOTTED.has(key) };
    });
  }

  losses() { return this.get(LOSSES); }

  // Returns the first of SCALES that has a curve, which is then plotted alone. Without one, the plot shows the accuracies.
  alone() { return SCALES.find((key) => this.points.has(key)); }
  scale() {
    if (this.alone()) return [this.alone()];
    const rest = [...this.points.keys()].filter((key) => ![...LOSSES, ...SPEED, ...ACCURACIES].includes(key)).slice(0, 2);
    return [...ACCURACIES, ...rest];
  }
  metrics() { return this.get(this.scale()); }
  shows(key) { return this.alone() ? this.scale().includes(key) : !SCALES.includes(key); }
  speed() { return this.get(["lr"]); }
}

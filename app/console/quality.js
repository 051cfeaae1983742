// The metrics of a version: its main metric, and the number of rows that it was measured on.

import { figure, number, phrase } from "./format.js";

export { figure as show };

const MAIN = {
  classification: ["accuracy", "macro_f1"], multilabel: ["micro_f1", "macro_f1"], regression: ["r2", "mae"],
  generation: ["bits_per_character", "perplexity"],
};

// What a value means, where this is not obvious.
export const remark = (name, value) => (name === "r2" && value < 0 ? "worse than always predicting the mean" : "");
const LOWER = "lower is better";
const MEANINGS = {
  loss: `log loss, ${LOWER}`, macro_f1: "mean of the F1 of all labels", r2: "1 is best, 0 is as good as the mean",
  ece: `mean difference between probabilities and shares of correct answers, ${LOWER}`, ece_uncalibrated: "the same for the network’s own probabilities",
  mse: LOWER, mae: LOWER, perplexity: LOWER, bits_per_character: LOWER,
};
export const meaning = (name, value, task) => remark(name, value) || (name === "loss" && task === "regression" ? LOWER : MEANINGS[name] || "");

// The minimum numbers of rows, as in app/wire/measurement.py.
export const MEASURABLE_ROWS = 20;
export const CALIBRATION_ERROR_ROWS = 200;
export const tooFew = (rows, name = "") => typeof rows === "number" && rows < (/^ece/.test(name) ? CALIBRATION_ERROR_ROWS : MEASURABLE_ROWS);
export const verdict = (rows) => `${number(rows)} ${rows === 1 ? "row" : "rows"}: too few for meaningful metrics`;

// The metrics of a split or an evaluation that are single numbers, as pairs of a name and a value.
const DETAILS = new Set(["per_class", "confusion_matrix", "rows_sha256", "rows", "of"]);
export const metricsOf = (part) => Object.entries(part).filter(([key, value]) => !DETAILS.has(key) && typeof value === "number" && !tooFew(part.rows, key));

// The split whose metrics are shown: the first with enough rows, otherwise the first.
export function splitOf(version) {
  const splits = ["test", "validation"].filter((split) => version.metrics?.[split]);
  return splits.find((split) => !tooFew(version.metrics[split].rows)) || splits[0] || null;
}

export function mainMetric(version) {
  const split = splitOf(version);
  if (split && tooFew(version.metrics[split].rows)) return null;
  const name = split && (MAIN[version.task] || []).find((key) => typeof version.metrics[split][key] === "number");
  return name ? { split, name, value: version.metrics[split][name] } : null;
}

export function quality(version) {
  const metric = mainMetric(version);
  const split = splitOf(version);
  if (split && tooFew(version.metrics[split].rows)) return `${split} on ${verdict(version.metrics[split].rows)}`;
  return metric ? `${metric.split} ${phrase(metric.name)} ${figure(metric.name, metric.value)}${remark(metric.name, metric.value) && ": worse than the mean"}` : "–";
}

// The figures of a version: which of its metrics says most, and on how many rows it stands.

import { number, percent, title } from "./format.js";

const MAIN = {
  classification: ["accuracy", "macro_f1"], multilabel: ["micro_f1", "macro_f1"], regression: ["r2", "mae"],
  generation: ["bits_per_character", "perplexity"],
};
export const SHARES = /(accuracy|f1|precision|recall|coverage|brier|ece|auc)/;
export const show = (name, value) => (SHARES.test(name) && Math.abs(value) <= 1 ? percent(value) : number(value));

export const splitOf = (version) => ["test", "validation"].find((split) => version.metrics?.[split]) || null;

export function mainMetric(version) {
  const split = splitOf(version);
  const name = split && (MAIN[version.task] || []).find((key) => typeof version.metrics[split][key] === "number");
  return name ? { split, name, value: version.metrics[split][name] } : null;
}

export function quality(version) {
  const metric = mainMetric(version);
  return metric ? `${metric.split} ${title(metric.name).toLowerCase().replace(" f1", " F1")} ${show(metric.name, metric.value)}` : "–";
}

// Describes in words how two models compare on the same rows, and whether the difference may be due to chance.

import { architecture, figure, number, pValue, phrase, title } from "./format.js";
import { tooFew } from "./quality.js";
import { trainedOn } from "./version/rows.js";

const LOWER_IS_BETTER = new Set(["bits_per_character"]);
const UNLIKELY = 0.05;  // as in app/training/baseline/comparison.py

const start = (name) => name.replace(/^this /, "This ");

// first, second: {name, value}, with the value of a metric. p: the p-value of a paired test, if there was one.
export function comparisonInWords([first, second], metric, { test, p, on = "on the same rows" } = {}) {
  const [a, b] = [figure(metric, first.value), figure(metric, second.value)];
  const figures = metric === "bits_per_character" ? `${a} and ${b} bits per character ${on}` : `${phrase(metric)} ${a} and ${b} ${on}`;
  const tested = p === undefined ? "" : ` (${test === "McNemar" ? "McNemar’s test" : test}, ${pValue(p)})`;
  if (first.value === second.value && !(p < UNLIKELY)) return `${start(first.name)} and ${second.name} are equally good: ${figures}${tested}.`;
  if (p >= UNLIKELY) return `No clear difference between ${first.name} and ${second.name}: ${figures}. The difference may be due to chance${tested}.`;
  const better = first.value > second.value !== LOWER_IS_BETTER.has(metric);
  return `${start(first.name)} is ${better ? "better" : "worse"} than ${second.name}: ${figures}.${p === undefined ? " It was not tested whether this difference may be due to chance." : ` Such a difference is unlikely to be due to chance${tested}.`}`;
}

const named = (metric, task) => (metric === "accuracy" && task === "multilabel" ? "exact_match_accuracy" : metric);

// The comparison in an evaluation's report. If a version was trained on the rows, the result is not a verdict, and this is said first.
export function comparedVersions(evaluation) {
  const { version, against_version: against, task, report } = evaluation;
  const { comparison, metrics } = report;
  const trained = trainedOn(evaluation);
  const few = tooFew(metrics.rows) || typeof comparison.model !== "number" || typeof comparison.against !== "number";
  if (trained.length) {
    const caution = `${trained.join(" and ")} ${trained.length > 1 ? "were" : "was"} trained on these rows, so the result does not show which version is better on new data.`;
    const values = [[version, comparison.model], [against, comparison.against]].map(([name, value]) => `${figure(comparison.metric, value)} (${name})`).join(" and ");
    return few ? caution : `${caution} ${title(phrase(named(comparison.metric, task)))}: ${values}.`;
  }
  if (few) return `${comparison.summary}.`;
  return comparisonInWords([{ name: version, value: comparison.model }, { name: against, value: comparison.against }], named(comparison.metric, task),
    { ...comparison, on: task === "generation" ? "on the same text" : undefined });
}

// The comparison of a version with the baseline of its training run.
export function comparedWithBaseline({ architecture: name, task, metrics: { baseline } }) {
  const { comparison, train, splits, model, summary } = baseline;
  if (!comparison) return summary || "";
  const ngram = model === "ngram";
  const method = ngram ? "an n-gram model" : name !== "linear" ? "a linear model" : task === "regression" ? "a ridge regression" : "a linear SVM";
  const unit = ngram ? "characters" : "rows";
  const parts = [[train, "fitted to", "training"], [splits?.[comparison.split], "measured on", comparison.split]].filter(([part]) => part && part[unit] < part.of)
    .map(([part, verb, split]) => `${verb} ${number(part[unit])} of the ${number(part.of)} ${split} ${unit}`);
  const sentence = comparisonInWords([{ name: `this ${name === "linear" ? "linear" : architecture(name)} model`, value: comparison.network }, { name: method, value: comparison.baseline }],
    named(comparison.metric, task), { ...comparison, on: `on the same ${comparison.split} ${ngram ? "text" : "rows"}` });
  return sentence + (parts.length ? ` ${method.replace(/^an? /, "The ")} was ${parts.join(", and ")}.` : "");
}

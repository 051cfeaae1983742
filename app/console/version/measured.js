// The measured thresholds of a version: which ones are nearest to a threshold, and the figures at each of them.

import { h } from "../dom.js";
import { percent, probability } from "../format.js";
import { stat } from "../parts.js";

const steps = (score) => Math.floor(score * 1e6);

// The score of a level as a threshold for requests: rounded down, so that the level's own rows are answered.
export const least = (level) => steps(level.score) / 1e6;

// Returns the levels to show for a threshold, as pairs of a name and a level. `levels` are in ascending order. A level that
// is displayed with the same digits as the threshold counts as equal.
export function nearest(levels, threshold) {
  const equal = levels.filter((each) => probability(each.score) === probability(threshold)).sort((a, b) => Math.abs(a.score - threshold) - Math.abs(b.score - threshold))[0];
  if (equal) return [["Measured at", equal]];
  const above = levels.find((each) => each.score > threshold);
  const below = levels.findLast((each) => each.score <= threshold);
  if (!below) return [["Lowest measured", above]];  // it answers all rows, and so does any lower threshold
  return [["Next lower measured", below], above ? ["Next higher measured", above] : null].filter(Boolean);
}

// The figures of some rows at the levels. `note(level)` is shown with the share of wrong answers.
export const figuresOf = (pairs, note = () => "") => pairs.map(([name, level]) => h("div", { class: "stats" },
  stat(name, probability(level.score)), stat("Answered", percent(level.answered)), stat("Wrong answers", percent(level.errors), level.errors === null ? "no row is answered" : note(level))));

// The threshold above which a version's answers are accurate enough.

import { query } from "../api.js";
import { h, replace } from "../dom.js";
import { counted, number, percent, probability, roundedUp } from "../format.js";
import { button, field, link, table } from "../parts.js";
import { curl, flags, python, shell, snippets } from "../snippets.js";
import { figuresOf, least, nearest } from "./measured.js";
import { leastRisk, level } from "./risk.js";
import { rowsOf, warnings } from "./rows.js";

const PROBABILITIES = {
  apart: "They were not used for training, and each was scored with a calibration that was fitted to the other rows.",
  "cross-fitted": "Each was scored by the checkpoint and with the calibration that were chosen on the other rows. The version itself may give these rows other probabilities, which would look better than those of new texts.",
};

// A threshold, which the reader can set with a slider, with a number, or with a limit on the share of wrong answers, and its
// figures: on the rows of the calibration and, with the version's own probabilities, on the rows of the newest evaluation.
// `parts` provides this evaluation (`newest`), and calls `changed` when there is another one.
export function threshold(calibration, version, parts) {
  const levels = [...calibration.risk].sort((a, b) => a.score - b.score);
  const box = h("div", { class: "stack" });
  const call = h("p", { class: "small" });
  const fewest = Math.min(...levels.map((each) => each.errors));
  const confidence = percent(calibration.confidence);
  let [current, limit] = [least(levels[0]), null];  // `limit` is the guaranteed share of wrong answers, if the reader has chosen one
  const limits = (each) => { const risk = leastRisk(calibration, each); return risk < 1 ? `at most ${roundedUp(risk)}, with ${confidence} confidence` : "too few rows for a guarantee"; };
  const rule = () => (limit === null ? { abstain_below: current } : { max_risk: limit });
  const slider = h("input", { type: "range", min: 0, max: levels.length - 1, step: 1, value: 0, oninput: () => { forget(); show(least(levels[Number(slider.value)])); } });
  const goal = h("input", { type: "number", min: 0, max: 100, step: "any", placeholder: "for example, 2", oninput: () => seek() });
  const exact = h("input", { type: "number", min: 0, max: 100, step: "any", oninput: () => enter() });
  const note = h("span", { class: "small muted", role: "status" });
  function forget() {
    goal.value = "";
    for (const input of [goal, exact]) input.setAttribute("aria-invalid", false);
    replace(note);
  }
  function show(threshold_, limit_ = null, typed = false) {
    [current, limit] = [threshold_, limit_];
    const pairs = nearest(levels, current);
    slider.value = levels.indexOf(pairs[0][1]);
    if (!typed) exact.value = inPercent(current);
    slider.setAttribute("aria-valuetext", `${probability(pairs[0][1].score)}: ${percent(pairs[0][1].answered)} answered, ${percent(pairs[0][1].errors)} wrong`);
    replace(box, h("p", { class: "small" }, h("strong", {}, `On ${number(calibration.rows)} held-out rows of the training run. `), PROBABILITIES[calibration.method]), figuresOf(pairs, limits), own(pairs));
    replace(call, "In a request: ", h("code", {}, `"abstain_below": ${current}`), limit === null ? null : [" or ", h("code", {}, `"max_risk": ${limit}`)], ". ",
      link("Try it in the playground", `#/play${query({ model: version.id, ...rule() })}`));
    code.open = false;  // the code of the previous threshold
  }
  // The figures of the newest evaluation at the same levels.
  function own(pairs) {
    const evaluation = parts.newest();
    const measured = (evaluation?.report.thresholds || []).filter(({ score }) => levels.some((each) => each.score === score));
    const found = pairs.map(([name, { score }]) => [name, measured.find((each) => each.score === score)]);
    if (!found.every(([, each]) => each)) return h("p", { class: "small" }, "Mistakes in an evaluation have the probabilities that the version returns. ", "Evaluate the version to see the figures of this threshold with these probabilities. ", button("Evaluate", () => parts.seek(true), "small"));
    return [h("p", { class: "small" }, h("strong", {}, "On ", rowsOf(evaluation), ", from the newest evaluation. "), "With the probabilities that the version returns, as in the list of its worst mistakes."), figuresOf(found), warnings(evaluation)];
  }
  function enter() {
    forget();
    const problem = outOfBounds(exact);
    exact.setAttribute("aria-invalid", problem !== "");
    replace(note, problem);
    if (!problem && exact.value) show(shareOf(exact), null, true);
  }
  function seek() {
    const problem = outOfBounds(goal);
    goal.setAttribute("aria-invalid", problem !== "");
    if (problem || !goal.value) {
      show(current);  // without the limit that was entered before
      return replace(note, problem);
    }
    const risk = shareOf(goal);
    const guaranteed = level(calibration, risk);
    const chosen = guaranteed || levels.find((each) => each.errors <= Math.max(risk, fewest));
    show(least(chosen), guaranteed ? risk : null);
    replace(note, guaranteed ? `With ${confidence} confidence, at most ${percent(risk)} of the answers are wrong. Requests can state this limit instead of a threshold: "max_risk": ${risk}` : unsure(risk, chosen));
  }
  // What the reader should know about a limit that no threshold guarantees.
  function unsure(risk, chosen) {
    const lowest = leastRisk(calibration) < 1 ? `The lowest limit that can be guaranteed is ${roundedUp(leastRisk(calibration))}.` : "No limit can be guaranteed.";
    const few = `The ${number(calibration.rows)} held-out rows are too few, or contain too many errors, to guarantee at most ${percent(risk)} wrong answers. ${lowest}`;
    return chosen.errors <= risk ? `This is the lowest threshold with at most ${percent(risk)} wrong answers on the held-out rows. ${few}`
      : `No threshold meets this limit even on the held-out rows. This one has the fewest wrong answers, ${percent(fewest)}. ${few}`;
  }
  const body = () => ({ model: version.id, input: ["some text"], ...rule() });
  const code = snippets({
    curl: () => curl("POST", "/v1/classify", body()), python: () => python("POST", "/v1/classify", body()),
    cli: () => (version.config.input === "features" ? "" : shell("ostinato", "classify", ...flags({ model: version.id, ...rule() }), "some text")),
  }, "Use this threshold from your program");
  show(current);
  parts.changed = () => show(current, limit, true);
  return [h("p", { class: "small muted" }, "Requests with a threshold get no label if the probability of the answer is below the threshold. With a higher threshold, fewer inputs are answered, and fewer answers are wrong."),
    h("div", { class: "row" }, field("Maximum error rate, measured, in %", goal, "Finds the lowest threshold that stays within this limit on the held-out rows, and guarantees the limit if there are enough rows."), field("Threshold, in %", exact)), note,
    field("Measured thresholds", slider, `The slider has ${counted(levels.length, "position")}: the measured thresholds from ${probability(levels[0].score)} to ${probability(levels.at(-1).score)}.`),
    box, call, all(levels, limits), code];
}

const all = (levels, limits) => h("details", { class: "more" }, h("summary", {}, "All measured thresholds"), table([
  { name: "Threshold", kind: "number", cell: (each) => probability(each.score) }, { name: "Answered", kind: "number", cell: (each) => percent(each.answered) },
  { name: "Wrong", kind: "number", cell: (each) => percent(each.errors) }, { name: "Guarantee", cell: (each) => limits(each) },
], levels, { caption: "All measured thresholds", tall: levels.length > 12 }));

const inPercent = (share) => Number((share * 100).toPrecision(8));
const shareOf = (input) => Number((Number(input.value) / 100).toPrecision(12));
const outOfBounds = ({ value, validity }) => (validity.badInput || (value !== "" && !(Number(value) > 0 && Number(value) < 100)) ? "Enter a percentage above 0 and below 100." : "");

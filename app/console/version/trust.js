// The reliability of a version: its calibration, and the threshold above which its answers are accurate enough.

import { query } from "../api.js";
import { h, replace, svg } from "../dom.js";
import { number, percent } from "../format.js";
import { field, link, stat } from "../parts.js";
import { tooFew } from "../quality.js";
import { curl, flags, python, shell, snippets } from "../snippets.js";
import { leastRisk, level, roundedUp } from "./risk.js";

const SIZE = 240;
const METHODS = { apart: ", which were not used for training", "cross-fitted": ", each measured with a calibration from the other rows" };

export function reliability({ after, rows, method }) {
  const bins = after.bins.filter((bin) => bin.rows > 0);
  const most = Math.max(...bins.map((bin) => bin.rows), 1);
  const [x, y] = [(value) => 30 + value * (SIZE - 40), (value) => SIZE - 30 - value * (SIZE - 40)];
  const dots = bins.map((bin) => svg("circle", { cx: x(bin.confidence), cy: y(bin.accuracy), r: 3 + 7 * Math.sqrt(bin.rows / most) },
    svg("title", {}, `Predicted ${percent(bin.confidence)}, correct ${percent(bin.accuracy)}, ${number(bin.rows)} rows`)));
  const ticks = [0, 0.5, 1].flatMap((value) => [
    svg("text", { x: x(value), y: SIZE - 12, "text-anchor": "middle" }, percent(value, 0)), svg("text", { x: 26, y: y(value) + 4, "text-anchor": "end" }, percent(value, 0))]);
  const titles = [svg("text", { x: x(0.5), y: SIZE + 8, "text-anchor": "middle" }, "Predicted probability"),
    svg("text", { transform: `translate(-14 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, "Share of correct predictions")];
  const label = `Calibration: ${bins.map((bin) => `predicted ${percent(bin.confidence, 0)}, correct ${percent(bin.accuracy, 0)}`).join("; ")}`;
  return [
    svg("svg", { viewBox: `-24 -8 ${SIZE + 32} ${SIZE + 26}`, class: "reliability", role: "img", "aria-label": label },
      svg("path", { class: "diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }), svg("path", { class: "axis", d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}` }), dots, ticks, titles),
    h("p", { class: "small muted" }, `On ${number(rows)} held-out rows${METHODS[method] || ""}, ${tooFew(rows, "ece") ? "which are too few to measure the calibration error" : `the expected calibration error is ${percent(after.ece)}`}. Points on the diagonal mean that the probabilities are accurate.`),
  ];
}

// A slider over the risk table that shows the share of answered rows and the share of wrong answers. A field for the maximum
// share of wrong answers moves the slider to the threshold that the service would choose.
export function threshold(calibration, version) {
  const levels = [...calibration.risk].sort((a, b) => a.score - b.score);
  const box = h("div", { class: "stats", "aria-live": "polite" });
  const call = h("p", { class: "small" });
  const fewest = Math.min(...levels.map((each) => each.errors));
  const confidence = percent(calibration.confidence);
  let [current, limit] = [levels[0], null];  // `limit` is the guaranteed share of wrong answers, if the reader has chosen one
  const limits = (risk) => (risk < 1 ? `at most ${roundedUp(risk)}, with ${confidence} confidence` : "too few rows for a guarantee");
  const score = () => Math.floor(current.score * 1e6) / 1e6;  // rounded down, so that the level's own rows are answered
  const rule = () => (limit === null ? { abstain_below: score() } : { max_risk: limit });
  const slider = h("input", { type: "range", min: 0, max: levels.length - 1, step: 1, value: 0, oninput: () => { const moved = levels[Number(slider.value)]; goal.value = ""; seek(); show(moved); } });
  const goal = h("input", { type: "number", min: 0, max: 100, step: "any", placeholder: "for example, 2", oninput: () => seek() });
  const note = h("span", { class: "small muted", role: "status" });
  function show(level_, limit_ = null) {
    [current, limit] = [level_, limit_];
    slider.value = levels.indexOf(current);
    slider.setAttribute("aria-valuetext", `${percent(current.answered)} answered, ${percent(current.errors)} wrong`);
    replace(box, stat("Threshold", number(current.score, 3)), stat("Answered", percent(current.answered)), stat("Share of wrong answers", percent(current.errors), limits(leastRisk(calibration, current))));
    replace(call, "In a request: ", h("code", {}, `"abstain_below": ${score()}`), limit === null ? null : [" or ", h("code", {}, `"max_risk": ${limit}`)], ". ",
      link("Try it in the playground", `#/play${query({ model: version.id, ...rule() })}`));
    code.open = false;  // the code of the previous threshold
  }
  function seek() {
    const problem = outOfBounds(goal);
    goal.setAttribute("aria-invalid", problem !== "");
    if (problem || !goal.value) {
      show(current);  // without the limit that was entered before
      return replace(note, problem);
    }
    const risk = Number((Number(goal.value) / 100).toPrecision(12));
    const guaranteed = level(calibration, risk);
    show(guaranteed || levels.find((each) => each.errors <= Math.max(risk, fewest)), guaranteed ? risk : null);
    replace(note, guaranteed ? `With ${confidence} confidence, at most ${percent(risk)} of the answers are wrong. Requests can state this limit instead of a threshold: "max_risk": ${risk}` : unsure(risk));
  }
  // What the reader should know about a limit that no threshold guarantees.
  function unsure(risk) {
    const least = leastRisk(calibration);
    const lowest = least < 1 ? `The lowest limit that can be guaranteed is ${roundedUp(least)}.` : "No limit can be guaranteed.";
    const few = `The ${number(calibration.rows)} held-out rows are too few, or contain too many errors, to guarantee at most ${percent(risk)} wrong answers. ${lowest}`;
    return current.errors <= risk ? `This is the lowest threshold with at most ${percent(risk)} wrong answers on the held-out rows. ${few}`
      : `No threshold meets this limit even on the held-out rows. This one has the fewest wrong answers, ${percent(fewest)}. ${few}`;
  }
  const body = () => ({ model: version.id, input: ["some text"], ...rule() });
  const code = snippets({
    curl: () => curl("POST", "/v1/classify", body()), python: () => python("POST", "/v1/classify", body()),
    cli: () => (version.config.input === "features" ? "" : shell("ostinato", "classify", ...flags({ model: version.id, ...rule() }), "some text")),
  }, "Use this threshold from your program");
  show(current);
  return [h("p", { class: "small muted" }, "Requests with a threshold get no label if the probability of the best label is below the threshold. With a higher threshold, fewer inputs are answered, and fewer answers are wrong."),
    h("div", { class: "row" }, field("Maximum error rate, in %", goal)), note, box, field("Threshold", slider), call, code];
}

const outOfBounds = ({ value, validity }) => (validity.badInput || (value !== "" && !(Number(value) > 0 && Number(value) < 100)) ? "Enter a percentage above 0 and below 100." : "");

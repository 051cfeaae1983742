// The reliability of a version: its calibration, and the threshold above which its answers are accurate enough.

import { h, replace, svg } from "../dom.js";
import { number, percent } from "../format.js";
import { field, stat } from "../parts.js";
import { curl, flags, python, shell, snippets } from "../snippets.js";

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
  const label = `Calibration: ${bins.map((bin) => `says ${percent(bin.confidence, 0)}, right ${percent(bin.accuracy, 0)}`).join("; ")}`;
  return [
    svg("svg", { viewBox: `-24 -8 ${SIZE + 32} ${SIZE + 26}`, class: "reliability", role: "img", "aria-label": label },
      svg("path", { class: "diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }), svg("path", { class: "axis", d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}` }), dots, ticks, titles),
    h("p", { class: "small muted" }, `On ${number(rows)} held-out rows${METHODS[method] || ""}, the expected calibration error is ${percent(after.ece)}. Points on the diagonal mean that the probabilities are accurate.`),
  ];
}

// A slider over the risk table that shows the share of answered rows and the share of wrong answers.
export function threshold(calibration, version) {
  const levels = [...calibration.risk].sort((a, b) => a.score - b.score);
  const box = h("div", { class: "stats", "aria-live": "polite" });
  const call = h("p", { class: "small" });
  let current = levels[0];
  const score = () => Math.floor(current.score * 1e6) / 1e6;  // rounded down, so that the level's own rows are answered
  const slider = h("input", { type: "range", min: 0, max: levels.length - 1, step: 1, value: 0, oninput: () => { show(Number(slider.value)); goal.value = ""; replace(note); } });
  const goal = h("input", { type: "number", min: 0.1, max: 100, step: 0.5, placeholder: "for example, 2", oninput: () => seek(Number(goal.value) / 100) });
  const note = h("span", { class: "small muted", role: "status" });
  function show(index) {
    current = levels[index];
    slider.setAttribute("aria-valuetext", `${percent(current.answered)} answered, ${percent(current.errors)} wrong`);
    replace(box, stat("Threshold", number(current.score, 3)), stat("Answered", percent(current.answered)), stat("Wrong among them", percent(current.errors), `at most ${percent(current.bound)}, with ${percent(calibration.confidence)} confidence`));
    replace(call, "In a request: ", h("code", {}, `"abstain_below": ${score()}`));
    code.open = false;  // the code of the previous threshold
  }
  // The most lenient level whose measured errors stay within the goal.
  function seek(risk) {
    if (!(risk > 0)) return replace(note);
    const index = levels.findIndex((level) => level.errors <= risk);
    if (index < 0) return replace(note, `No threshold meets this limit; the lowest measured share is ${percent(Math.min(...levels.map((l) => l.errors)))}.`);
    slider.value = index;
    show(index);
    const sure = levels[index].bound <= risk;
    const limit = `at most ${percent(risk)} of the answers are wrong`;
    replace(note, sure ? `With ${percent(calibration.confidence)} confidence, ${limit}. Requests can state this limit instead of a threshold: "max_risk": ${risk}`
      : `The lowest threshold at which ${limit} on the ${number(calibration.rows)} held-out rows. They are too few to guarantee this: the true share may be up to ${percent(levels[index].bound)}.`);
  }
  const body = () => ({ model: version.id, input: ["some text"], abstain_below: score() });
  const code = snippets({
    curl: () => curl("POST", "/v1/classify", body()), python: () => python("POST", "/v1/classify", body()),
    cli: () => (version.config.input === "features" ? "" : shell("ostinato", "classify", ...flags({ model: version.id, abstain_below: score() }), "some text")),
  }, "Use this threshold from your program");
  show(0);
  return [h("p", { class: "small muted" }, "Requests with a threshold get no label if the best label is less probable than that. A higher threshold gives fewer answers, and fewer wrong ones."),
    box, field("Threshold", slider), h("div", { class: "row" }, field("Wrong answers at most, in %", goal)), note, call, code];
}

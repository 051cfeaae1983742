// The calibration of a version: whether its probabilities are accurate.

import { h, svg } from "../dom.js";
import { number, percent } from "../format.js";
import { tooFew } from "../quality.js";

const SIZE = 240;
const METHODS = { apart: ", which were not used for training", "cross-fitted": ", each scored by the checkpoint and with the calibration that were chosen on the other rows" };

export function reliability({ before, after, rows, method }) {
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
    h("p", { class: "small muted" }, `On ${number(rows)} held-out rows${METHODS[method] || ""}, ${tooFew(rows, "ece") ? "which are too few to measure the calibration error" : `the expected calibration error, the mean distance of the points from the diagonal, is ${percent(after.ece)}${before ? ` with calibration and ${percent(before.ece)} without` : ""}. Lower is better`}. Points on the diagonal mean that the probabilities are accurate.`),
  ];
}

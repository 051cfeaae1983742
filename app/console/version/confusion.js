// The confusion matrix, and the metrics of each label.

import { h } from "../dom.js";
import { counted, number, percent } from "../format.js";
import { table } from "../parts.js";
import { shade } from "../play/embed.js";

const MOST = 30;
const LISTED = 3;
const SHORT = 12;

// How strongly the share of a cell is shaded. Even the smallest share can be seen.
const strength = (share) => 0.25 + 0.75 * Math.sqrt(share);

// A box in which a wide matrix can be scrolled, with a hint that is shown while the box is too narrow.
function scrollable(matrix) {
  const hint = h("p", { class: "small muted", hidden: true }, "Scroll the matrix sideways to see all columns.");
  const box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, matrix);
  new ResizeObserver(() => { hint.hidden = box.scrollWidth <= box.clientWidth; }).observe(box);
  return [hint, box];
}

// Calls `open(truth, predicted)` for a cell. With more than MOST labels, shows only those that are confused most often.
export function confusion(labels, matrix, open) {
  const mistakes = labels.map((_, i) => matrix[i].reduce((sum, n, j) => sum + (i === j ? 0 : n + matrix[j][i]), 0));
  const order = labels.map((_, i) => i);
  const kept = labels.length <= MOST ? order : order.filter((i) => mistakes[i]).sort((a, b) => mistakes[b] - mistakes[a]).slice(0, MOST).sort((a, b) => a - b);
  const totals = matrix.map((row) => row.reduce((a, b) => a + b, 0));
  const cell = (i, j) => h("td", {}, matrix[i][j] === 0 ? h("span", { class: "cell muted" }, "·") : h("button", {
    type: "button", class: "cell", style: shade(strength(matrix[i][j] / Math.max(1, totals[i])), i === j ? "--accent" : "--second"), "aria-label": `${labels[i]} answered as ${labels[j]}: ${counted(matrix[i][j], "row")}`,
    onclick: () => open(labels[i], labels[j]),
  }, number(matrix[i][j])));
  return [
    frequent(labels, matrix, totals, open),
    labels.length > MOST ? h("p", { class: "small muted" }, kept.length < MOST ? `Shows the ${counted(kept.length, "label")} with confusions, out of ${labels.length}.` : `Shows the ${MOST} most frequently confused labels, out of ${labels.length}.`) : null,
    scrollable(h("table", { class: "matrix" },
      h("caption", { class: "hidden-visually" }, "Confusion matrix: one row per true label, one column per predicted label"),
      h("thead", {}, h("tr", { class: "sides", "aria-hidden": "true" }, h("td", {}, "True label ↓"), h("td", { colspan: kept.length }, "Predicted label →")), h("tr", {}, h("td"), kept.map((j) => h("th", { scope: "col", title: labels[j] }, labels[j])))),
      h("tbody", {}, kept.map((i) => h("tr", {}, h("th", { scope: "row", title: labels[i] }, labels[i]), kept.map((j) => cell(i, j))))))),
  ];
}

// A cell of the confusion matrix in the metrics of a split, for `evidence`. `of` names the rows that the matrix counts.
export function cellOf({ per_class: figures, confusion_matrix: matrix, rows, rows_sha256: sha256 }, truth, predicted, of) {
  const labels = Object.keys(figures);
  return { truth, predicted, count: matrix[labels.indexOf(truth)][labels.indexOf(predicted)], rows, of, sha256 };
}

const short = (label) => h("strong", { title: label }, label.length > 40 ? label.slice(0, 40) + "…" : label);

// The most frequent confusions, with the share of the rows of the true label.
function frequent(labels, matrix, totals, open) {
  const cells = labels.flatMap((_, i) => labels.map((_, j) => [i, j])).filter(([i, j]) => i !== j && matrix[i][j] > 0)
    .sort((a, b) => matrix[b[0]][b[1]] - matrix[a[0]][a[1]]).slice(0, LISTED);
  if (!cells.length) return h("p", {}, "No confusions: all rows were answered correctly.");
  return h("div", { class: "stack", style: { gap: ".4rem" } }, h("h3", {}, "Most frequent confusions"), h("ol", { class: "remarks" }, cells.map(([i, j]) => h("li", {},
    h("button", { type: "button", class: "plain confused", onclick: () => open(labels[i], labels[j]) }, short(labels[i]), " answered as ", short(labels[j])),
    ` – ${counted(matrix[i][j], "row")}, ${percent(matrix[i][j] / totals[i])} of ${number(totals[i])}`))));
}

export function perLabel(figures) {
  const rows = Object.entries(figures).map(([label, values]) => ({ label, ...values }));
  if (rows.length > SHORT) rows.sort((a, b) => a.f1 - b.f1);  // the labels with the lowest F1 come first
  return table([
    { name: "Label", kind: "long", cell: (r) => r.label }, { name: "Precision", kind: "number", cell: (r) => percent(r.precision) },
    { name: "Recall", kind: "number", cell: (r) => percent(r.recall) }, { name: "F1", kind: "number", cell: (r) => percent(r.f1) },
    { name: "Rows", kind: "number", cell: (r) => number(r.support) },
  ], rows, { caption: "Metrics of each label", tall: rows.length > SHORT });
}


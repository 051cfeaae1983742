// The confusion matrix, and the metrics of each label.

import { h } from "../dom.js";
import { number, percent } from "../format.js";
import { table } from "../parts.js";
import { shade } from "../play/embed.js";

const MOST = 30;

// Calls `open(truth, predicted)` for a cell. With more than MOST labels, shows only the labels that are confused most often.
export function confusion(labels, matrix, open) {
  const mistakes = labels.map((_, i) => matrix[i].reduce((sum, n, j) => sum + (i === j ? 0 : n + matrix[j][i]), 0));
  const order = labels.map((_, i) => i);
  const kept = labels.length <= MOST ? order : order.sort((a, b) => mistakes[b] - mistakes[a]).slice(0, MOST).sort((a, b) => a - b);
  const totals = matrix.map((row) => row.reduce((a, b) => a + b, 0));
  const cell = (i, j) => h("td", {}, matrix[i][j] === 0 ? h("span", { class: "cell muted" }, "·") : h("button", {
    type: "button", class: "cell", style: shade(matrix[i][j] / Math.max(1, totals[i])), "aria-label": `${labels[i]} answered as ${labels[j]}: ${matrix[i][j]} rows`,
    onclick: () => open(labels[i], labels[j]),
  }, number(matrix[i][j])));
  return [
    labels.length > MOST ? h("p", { class: "small muted" }, `The ${MOST} most frequently confused labels of ${labels.length}.`) : null,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, h("table", { class: "matrix" },
      h("caption", { class: "hidden-visually" }, "Confusion matrix: one row per true label, one column per predicted label"),
      h("thead", {}, h("tr", {}, h("td"), kept.map((j) => h("th", { scope: "col", title: labels[j] }, labels[j])))),
      h("tbody", {}, kept.map((i) => h("tr", {}, h("th", { scope: "row", title: labels[i] }, labels[i]), kept.map((j) => cell(i, j))))))),
  ];
}

export function perLabel(figures) {
  const rows = Object.entries(figures).map(([label, values]) => ({ label, ...values }));
  return table([
    { name: "Label", kind: "long", cell: (r) => r.label }, { name: "Precision", kind: "number", cell: (r) => percent(r.precision) },
    { name: "Recall", kind: "number", cell: (r) => percent(r.recall) }, { name: "F1", kind: "number", cell: (r) => percent(r.f1) },
    { name: "Rows", kind: "number", cell: (r) => number(r.support) },
  ], rows, { caption: "Metrics of each label" });
}


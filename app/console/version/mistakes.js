// The worst mistakes in an evaluation's report.

import { number, percent } from "../format.js";
import { badge, table } from "../parts.js";
import { inputColumn } from "./rows.js";

export function mistakes(rows) {
  const regression = rows[0] && "value" in rows[0];
  return table([
    inputColumn(rows),
    { name: "Truth", cell: (row) => (regression ? number(row.value) : row.labels.map((label) => badge(label))) },
    { name: "Answer", cell: (row) => (regression ? number(row.predicted) : row.predicted.map((label) => badge(label, "bad"))) },
    ...(regression ? [] : [{ name: "Probability", kind: "number", cell: (row) => percent(Math.max(...row.predicted.map((label) => row.probabilities[label]))) }]),
    { name: "Row", kind: "nowrap", cell: (row) => row.where },
  ], rows, { caption: "Worst mistakes", blank: "No mistakes." });
}

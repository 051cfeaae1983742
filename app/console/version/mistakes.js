// The worst mistakes in an evaluation's report.

import { number, probability } from "../format.js";
import { badge, table } from "../parts.js";
import { inputColumn } from "./rows.js";

export function mistakes(rows) {
  // the score with which thresholds are compared; reports of earlier releases do not contain it
  const scoreOf = (row) => row.score ?? Math.max(...row.predicted.map((label) => row.probabilities[label]));
  const several = rows.some((row) => row.labels?.length !== 1 || row.predicted.length !== 1);
  const regression = rows[0] && "value" in rows[0];
  return table([
    inputColumn(rows),
    { name: "Truth", cell: (row) => (regression ? number(row.value) : row.labels.map((label) => badge(label))) },
    { name: "Answer", cell: (row) => (regression ? number(row.predicted) : row.predicted.map((label) => badge(label, "bad"))) },
    ...(regression ? [] : [{ name: several ? "Lowest probability" : "Probability", kind: "number", cell: (row) => probability(scoreOf(row)) }]),
    { name: "Row", kind: "nowrap", cell: (row) => row.where },
  ], rows, { caption: "Worst mistakes", blank: "No mistakes." });
}

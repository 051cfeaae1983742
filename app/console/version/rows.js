// Describes the rows of an evaluation: their number, split and file, and whether the version was trained on them.

import { h } from "../dom.js";
import { number } from "../format.js";

// Names the rows, such as “the 140 test rows of moods.csv”.
export function rowsOf({ filename, report }) {
  return [report.split ? "the" : "all", report.metrics.rows ? number(report.metrics.rows) : "", report.split || "", "rows of", filename].filter(Boolean).join(" ");
}

// The warnings of an evaluation's report, such as one about rows that the version was trained on.
export const warnings = ({ report }) => (report?.warnings || []).map((text) => h("p", { class: "notice warn small" }, "Warning: ", text, "."));

// Returns the versions of an evaluation that were trained on its rows, according to the warnings of its report, whose
// sentences are in app/training/evaluation/overlap.py.
export function trainedOn({ version, against_version: against, report }) {
  const texts = (report?.warnings || []).filter((text) => /\b(the training rows of|(was|were) trained on)\b/.test(text)).map((text) => text.split(/[\s,]+/));
  return [version, against].filter((name) => name && texts.some((text) => text.includes(name)));
}

// The column that shows the input of each row: its text, or the name of its series.
export function inputColumn(rows) {
  const series = rows.some((row) => row.series);
  return { name: series ? "Series" : "Text", kind: "long", cell: (row) => row.text || row.series };
}

// The examples in a cell of a confusion matrix, from the stored predictions of an evaluation.

import { response } from "../api.js";
import { h, replace } from "../dom.js";
import { number, probability } from "../format.js";
import { action, badge, failure, link, loading, table } from "../parts.js";
import { inputColumn, rowsOf, warnings } from "./rows.js";

const MOST = 50;
const read = new Map();

// Parses a CSV text into a list of row objects.
export function parse(text) {
  const rows = [[]];
  let value = "";
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') value += c;
      else if (text[i + 1] === '"') { value += '"'; i += 1; }
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ",") { rows[rows.length - 1].push(value); value = ""; }
    else if (c === "\n") { rows[rows.length - 1].push(value.replace(/\r$/, "")); value = ""; rows.push([]); }
    else value += c;
  }
  const [head, ...body] = rows;
  return body.filter((row) => row.length === head.length).map((row) => Object.fromEntries(head.map((name, i) => [name, row[i]])));
}

export async function predictions(evaluation, signal) {
  const [id] = evaluation.result_files;
  if (!read.has(id)) read.set(id, response("GET", `/v1/files/${id}/content`, { signal }).then((reply) => reply.text()).then(parse));
  try {
    return await read.get(id);
  } catch (error) {
    read.delete(id);
    throw error;
  }
}

// Returns the evaluation of the rows that a confusion matrix counts or, if there is none, the newest one with stored predictions.
function sourceOf(evaluations, sha256) {
  const stored = evaluations.filter((e) => e.result_files.length && e.report);
  return stored.find((e) => sha256 && e.report.rows_sha256 === sha256) || stored[0];
}

// Shows the examples of a cell in `box`, and states which rows the matrix counts and which rows are shown. cell: {truth,
// predicted, count, rows, of, sha256}, where `of` names the counted rows. `seek` leads to the controls that start an
// evaluation. Without it, the matrix belongs to the only evaluation.
export async function evidence(box, evaluations, cell, signal, seek) {
  const evaluation = sourceOf(evaluations, cell.sha256);
  const heading = h("h3", {}, `${cell.truth} answered as ${cell.predicted}`);
  const counts = `This cell counts ${number(cell.count)} of the ${number(cell.rows)} ${cell.of}. `;
  replace(box, heading, evaluation ? loading() : [h("p", {}, counts, "The service does not store the texts of these rows with a version. An evaluation on a file shows the examples of this cell in that file."), action("Evaluate to see examples", () => seek(true))]);
  box.scrollIntoView({ block: "nearest" });
  if (!evaluation) return;
  const same = cell.sha256 ? evaluation.report.rows_sha256 === cell.sha256 : !seek;  // reports of old versions have no hash
  try {
    const rows = (await predictions(evaluation, signal)).filter((row) => row.label === cell.truth && row.predicted === cell.predicted);
    rows.sort((a, b) => b.probability - a.probability);
    const place = link("an evaluation", `#/evaluations/${evaluation.id}`);
    replace(box, heading, h("p", {}, counts, same ? "The examples are the counted rows." : ["The examples are not the counted rows. They come from ", place, " on ", rowsOf(evaluation), "."],
      shownOf(rows.length)),
    same ? null : warnings(evaluation), examples(rows.slice(0, MOST)),
    same || !seek ? null : h("div", {}, action("Evaluate on other rows", () => seek(), "small")));
  } catch (error) {
    if (error.name !== "AbortError") replace(box, failure(error));
  }
}

function shownOf(count) {
  if (count > MOST) return ` The ${MOST} most certain of ${number(count)} examples in this cell are shown.`;
  return ["", " The only example in this cell is shown."][count] ?? ` All ${number(count)} examples in this cell are shown.`;
}

export const examples = (rows) => table([
  inputColumn(rows),
  { name: "Truth", cell: (row) => badge(row.label) }, { name: "Answer", cell: (row) => badge(row.predicted, row.correct === "1" ? "good" : "bad") },
  { name: "Probability", kind: "number", cell: (row) => (row.probability ? probability(Number(row.probability)) : "–") },
  { name: "Row", kind: "number", narrow: false, cell: (row) => row.row },
], rows, { caption: "Examples", blank: "None of the evaluated rows is in this cell." });

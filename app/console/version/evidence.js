// The examples in a cell of a confusion matrix, from the stored predictions of an evaluation.

import { response } from "../api.js";
import { h, replace } from "../dom.js";
import { counted, percent } from "../format.js";
import { badge, failure, link, loading, table } from "../parts.js";

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

// Shows the examples of a cell in `box`. If no evaluation has stored predictions, shows `offer(truth, predicted)` there.
export async function evidence(box, evaluations, { truth, predicted }, signal, offer) {
  const evaluation = evaluations.find((e) => e.result_files.length);
  replace(box, evaluation ? loading() : offer(truth, predicted));
  box.scrollIntoView({ block: "nearest" });
  if (!evaluation) return;
  try {
    const rows = (await predictions(evaluation, signal)).filter((row) => row.label === truth && row.predicted === predicted);
    rows.sort((a, b) => b.probability - a.probability);
    replace(box, h("h3", {}, `${truth} answered as ${predicted}: ${counted(rows.length, "row")}`), examples(rows.slice(0, MOST)),
      h("p", { class: "small muted" }, "From ", link("the evaluation", `#/evaluations/${evaluation.id}`), rows.length > MOST ? `; the ${MOST} most certain are shown.` : ", most certain first."));
  } catch (error) {
    if (error.name !== "AbortError") replace(box, failure(error));
  }
}

export const examples = (rows) => table([
  { name: "Text", kind: "long", cell: (row) => row.text },
  { name: "Truth", cell: (row) => badge(row.label) }, { name: "Answer", cell: (row) => badge(row.predicted, row.correct === "1" ? "good" : "bad") },
  { name: "Probability", kind: "number", cell: (row) => (row.probability ? percent(Number(row.probability)) : "–") },
  { name: "Row", kind: "number", narrow: false, cell: (row) => row.row },
], rows, { caption: "Examples", blank: "The evaluation's file has no rows in this cell. The counts come from the held-out rows of the training run." });

// Evaluates a version: on its own held-out rows, if they are in a file that is still stored, or on another file.

import { get, post } from "../api.js";
import { chosen, fileSelect } from "../datasets.js";
import { h, replace } from "../dom.js";
import { action, field, later, link } from "../parts.js";
import { ENDED } from "../views/jobs.js";

const EVERY = 1500;  // milliseconds

// Returns {file, columns} for a stored file whose evaluation uses only rows that the version was not trained on: the
// job's validation file, or a training file with a column of splits. Otherwise returns null.
export async function heldOut(job, training, signal) {
  if (!job) return null;
  const columns = training?.spec?.columns || {};
  const file = await get(`/v1/files/${job.validation_file || job.training_file}`, { signal }).catch(() => null);
  if (!file) return null;
  const split = columns.split || file.column_roles?.split || file.columns?.includes("split");
  return job.validation_file || split ? { file, columns } : null;
}

// Starts an evaluation, shows its progress in `box`, and calls `done(evaluation)` when it has succeeded.
export async function evaluate(body, box, signal, done) {
  let evaluation = await post("/v1/evaluations", body);
  const place = link("Evaluation", `#/evaluations/${evaluation.id}`);
  const say = (text, tone = "") => replace(box, h("p", { class: `notice ${tone}`, role: "status" }, h("span", {}, place, text)));
  while (!ENDED.includes(evaluation.status)) {
    say(evaluation.status === "queued" ? ": waiting for a worker. You can leave this page." : `: ${evaluation.phase.replaceAll("_", " ")}…`);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (signal.aborted) return;
    evaluation = await get(`/v1/evaluations/${evaluation.id}`, { signal });
  }
  if (evaluation.status === "succeeded") return done(evaluation);
  say(` ${evaluation.status}${evaluation.error ? `: ${evaluation.error.message}` : "."}`, "bad");
}

// The controls that start an evaluation of a version.
export function evaluator(version, own, signal, done) {
  const progress = h("div", { class: "slot" });
  const start = (body) => evaluate({ model: version.id, ...body }, progress, signal, done);
  const held = later(own, (found) => (found ? h("div", { class: "row" },
    action("Evaluate on its held-out rows", () => start({ file: found.file.id, columns: Object.keys(found.columns).length ? found.columns : undefined }), "primary"),
    h("span", { class: "small muted" }, `in ${found.file.filename}`)) : null), null);
  const other = later(fileSelect(signal), (control) => (control
    ? h("div", { class: "row" }, field("File", control), action("Evaluate", () => start({ file: chosen(control) })))
    : h("p", { class: "small muted" }, "Upload a file with labels under Files to evaluate on it.")), null);
  return h("div", { class: "stack" }, held, other, progress);
}

// Evaluates a version: on its own held-out rows, if they are in a file that is still stored, or on another file.

import { get, post } from "../api.js";
import { chosen, fileField } from "../datasets.js";
import { h, replace } from "../dom.js";
import { counted } from "../format.js";
import { action, later, link } from "../parts.js";
import { fitting } from "../training/columns.js";
import { ENDED } from "../views/jobs.js";

const EVERY = 1500;  // milliseconds

// Returns {file, columns, options} for a stored file whose evaluation uses only rows that the version was not trained on: the
// job's validation file, a training file with a column of splits or, with the share of rows that were drawn for validation,
// any other table. Otherwise returns null. The file must be read as in training, so that the same rows are drawn.
export async function heldOut(job, training, signal) {
  if (!job) return null;
  const columns = training?.spec?.columns || {};
  const file = await get(`/v1/files/${job.validation_file || job.training_file}`, { signal }).catch(() => null);
  if (!file) return null;
  const split = columns.split || file.column_roles?.split || file.columns?.includes("split");
  const { encoding, skip_bad_rows } = training?.spec?.training || {};
  if (job.validation_file || split) return { file, columns, options: { encoding, skip_bad_rows } };
  const share = training?.spec?.validation_split;
  return share && job.task !== "generation" ? { file, columns, options: { encoding, skip_bad_rows, validation_split: share } } : null;
}

// Returns a function that names what a file was used for: "training file", "validation file", or "" for another file.
export function usage(job, training) {
  const { training_file: learned, validation_file: checked } = training?.data || {};
  return (file) => {
    if (file.id === job?.training_file || file.sha256 === learned) return "training file";
    return file.id === job?.validation_file || file.sha256 === checked ? "validation file" : "";
  };
}
const EFFECTS = {
  "training file": "The version was trained on rows of this file, so the metrics will not show how well it performs on new data, unless a column of the file assigns its rows to splits.",
  "validation file": "This file may have been used to choose the version's checkpoint, so the metrics may be better than those on new data.",
};

// Starts an evaluation, shows its progress in `box`, and calls `done(evaluation)` when it has succeeded.
export const evaluate = async (body, box, signal, done) => follow(await post("/v1/evaluations", body), box, signal, done);

// Shows the progress of the version's newest evaluation that has not ended, if any. The reader may have started it earlier.
async function resume(version, box, signal, done) {
  const { data } = await get("/v1/evaluations?limit=50", { signal });
  const started = data.find((each) => each.version === version.id && !ENDED.includes(each.status));
  if (started) await follow(started, box, signal, done);
}

async function follow(evaluation, box, signal, done) {
  const place = link("Evaluation", `#/evaluations/${evaluation.id}`);
  const say = (text, tone = "") => replace(box, h("p", { class: `notice ${tone}`, role: "status" }, h("span", {}, place, text)));
  while (!ENDED.includes(evaluation.status)) {
    const before = evaluation.jobs_before ? `, ${counted(evaluation.jobs_before, "job")} ahead` : "";
    say(evaluation.status === "queued" ? `: waiting for a worker${before}. You can leave this page.` : `: ${evaluation.phase.replaceAll("_", " ")}…`);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (signal.aborted) return;
    evaluation = await get(`/v1/evaluations/${evaluation.id}`, { signal });
  }
  if (evaluation.status === "succeeded") return done(evaluation);
  say(` ${evaluation.status}${evaluation.error ? `: ${evaluation.error.message}` : "."}`, "bad");
}

// The fields of the request for a file, with the version's columns that exist in the file.
export function bodyOf(file, roles) {
  const columns = fitting(roles, file);
  return { file: file.id, columns: Object.keys(columns).length ? columns : undefined };
}

// Returns a function that tells whether a file probably suits a version: whether it has the columns of the version's training
// data or, if their names are not known, whether it is a table.
function suiting(version, roles) {
  const count = Object.values(roles).filter(Boolean).length;
  return (file) => version.task === "generation" || (file.columns && Object.keys(fitting(roles, file)).length === count);
}

// The selection of the file for an evaluation. The default is the newest suitable file that the version was not trained on, if
// there is one.
async function otherFile(about, suits, signal, start) {
  const note = h("p", { class: "small muted", role: "status" });
  const tell = (file) => replace(note, EFFECTS[file && about(file)]);
  const choice = await fileField("File", signal, { about, use: tell });
  if (!choice) return h("p", { class: "small muted" }, "Upload a file with labels under Files to evaluate on it.");
  choice.control.value = [...choice.files.values()].find((file) => !about(file) && suits(file))?.id || "";
  return [h("div", { class: "row" }, choice.element, action("Evaluate", () => start(choice.files.get(chosen(choice.control))))), note];
}

// The controls that start an evaluation of a version. `own` is the result of `heldOut`, `used` is the result of `usage`, and
// `columns` are the columns of the version's training job. With `resumes`, an evaluation that has not ended is followed.
export function evaluator(version, { own, used, columns }, signal, done, resumes = false) {
  const progress = h("div", { class: "slot" });
  if (resumes) resume(version, progress, signal, done).catch(() => {});  // the list of evaluations is only an addition
  const start = (body) => evaluate({ model: version.id, ...body }, progress, signal, done);
  const held = later(own, (found) => (found ? h("div", { class: "row" },
    action("Evaluate on its held-out rows", () => start({ ...bodyOf(found.file, found.columns), ...found.options }), "primary"),
    h("span", { class: "small muted" }, `in ${found.file.filename}`)) : null), null);
  const other = later(Promise.all([used, columns]).then(([about, roles]) => otherFile(about, suiting(version, roles), signal, (file) => start(bodyOf(file, roles)))), (element) => element, null);
  return h("div", { class: "stack" }, held, other, progress);
}

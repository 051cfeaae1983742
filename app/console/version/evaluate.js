// Evaluates a version: on its own held-out rows, if they are in a file that is still stored, or on another file.

import { get, post } from "../api.js";
import { chosen, fileField } from "../datasets.js";
import { h, replace } from "../dom.js";
import { counted } from "../format.js";
import { action, later, link } from "../parts.js";
import { fitting } from "../training/columns.js";
import { ENDED } from "../views/jobs.js";

const EVERY = 1500;  // milliseconds
const HELD_OUT = "held-out";

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
export const EFFECTS = {
  "training file": "The version was trained on rows of this file, so the metrics will not show how well it performs on new data, unless a column of the file assigns its rows to splits.",
  "validation file": "This file may have been used to choose the version's checkpoint, so the metrics may be better than those on new data.",
};

// Starts an evaluation, shows its progress in `box`, and calls `done(evaluation)` when it has succeeded. The box gets the focus,
// so that the reader sees the progress and a screen reader reads it, unless `leads` is false.
export async function evaluate(body, box, signal, done, leads = true) {
  const following = follow(await post("/v1/evaluations", body), box, signal, done);
  if (leads) present(box);  // an empty box cannot have the focus
  await following;
}

// A place for the progress of an evaluation, and for a part of its result.
export const progressBox = (...children) => h("div", { class: "slot", tabindex: "-1", role: "status" }, children);

// Scrolls to an element, and moves the focus there.
export function present(element) {
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: element.offsetHeight > innerHeight / 2 ? "start" : "center" });
}

// Shows the progress of an evaluation until it has ended.
export async function follow(evaluation, box, signal, done) {
  const place = link("Evaluation", `#/evaluations/${evaluation.id}`);
  let shown = "";
  const say = (text, tone = "") => {
    if (text !== shown) replace(box, h("p", { class: `notice ${tone}` }, h("span", {}, place, text)));  // the same text would be read again
    shown = text;
  };
  while (!ENDED.includes(evaluation.status)) {
    const before = evaluation.jobs_before ? `, ${counted(evaluation.jobs_before, "job")} ahead` : "";
    const state = evaluation.status === "queued" ? `waiting for a worker${before}. You can leave this page.` : `${evaluation.phase.replaceAll("_", " ")}…`;
    say(` on ${evaluation.filename}: ${state}`);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (signal.aborted) return;
    evaluation = await get(`/v1/evaluations/${evaluation.id}`, { signal });
  }
  if (evaluation.status === "succeeded") return done(evaluation);
  say(` on ${evaluation.filename} ${evaluation.status}${evaluation.error ? `: ${evaluation.error.message}` : "."}`, "bad");
}

// The fields of the request for a file, with the version's columns that exist in the file.
export function bodyOf(file, roles) {
  const columns = fitting(roles, file);
  return { file: file.id, columns: Object.keys(columns).length ? columns : undefined };
}

// Returns a function that tells whether a file probably suits a version: whether it has the columns of the version's training
// data or, if their names are not known, whether it is a table; for a generation model, whether it is plain text.
function suiting({ task }, roles) {
  const count = Object.values(roles).filter(Boolean).length;
  if (task === "generation" && !count) return (file) => file.format === "text";
  return (file) => file.columns && Object.keys(fitting(roles, file)).length === count;
}

// The choice of the rows, and the button `name`, which calls `start(body)` and is disabled until rows are chosen. The default
// are the held-out rows (`held`, a result of `heldOut`) or, if there are none, the newest suitable file that the versions were
// not trained on. `about(file)` tells what a file was used for, and `effect(file)` what this means for the metrics.
export async function rowsField(version, { held, about, effect, roles, unseen }, signal, name, start) {
  const note = h("p", { class: "small muted", role: "status" });
  const button = action(name, () => start(body()), "primary");
  const tell = (file, id) => {
    button.disabled = !id;
    replace(note, id === HELD_OUT ? `The rows of ${held.file.filename} that ${unseen} not trained on.` : file ? effect(file) : "Choose the rows first.");
  };
  const choice = await fileField("Rows", signal, { blank: "Choose the rows…", about, use: tell });
  if (!choice) return h("p", { class: "small muted" }, "Upload a file with labels under Files to evaluate on it.");
  const { control, files, element } = choice;
  if (held) control.options[0].after(h("option", { value: HELD_OUT }, `The held-out rows of ${held.file.filename}`));
  const suits = suiting(version, roles);
  control.value = held ? HELD_OUT : [...files.values()].find((file) => !about(file) && suits(file))?.id || "";
  tell(files.get(control.value), control.value);
  const body = () => (chosen(control) === HELD_OUT ? { ...bodyOf(held.file, held.columns), ...held.options } : bodyOf(files.get(control.value), roles));
  return [h("div", { class: "row" }, element, button), note];
}

// The controls that start an evaluation of a version, and `box`, where its progress is shown. `own` is the result of `heldOut`,
// `used` is the result of `usage`, and `columns` are the columns of the version's training job.
export function evaluator(version, { own, used, columns }, box, signal, done) {
  const start = (body) => evaluate({ model: version.id, ...body }, box, signal, done);
  const rows = Promise.all([own, used, columns]).then(([held, about, roles]) => ({ held, about, roles, effect: (file) => EFFECTS[about(file)], unseen: "the version was" }));
  return later(rows.then((choices) => rowsField(version, choices, signal, "Evaluate", start)), (element) => element);
}

// The page of an evaluation: its progress, metrics, paired test and worst mistakes.

import { get, post, save, stream } from "../api.js";
import { h, replace } from "../dom.js";
import { comparedVersions } from "../comparison.js";
import { counted, duration, figure, moment, title } from "../format.js";
import { action, card, facts, header, stat, status, when } from "../parts.js";
import { meaning, tooFew, verdict } from "../quality.js";
import { columnFlags, commented, curl, flags, requests, shell, snippets } from "../snippets.js";
import { cellOf, confusion, perLabel } from "../version/confusion.js";
import { evidence } from "../version/evidence.js";
import { mistakes } from "../version/mistakes.js";
import { rowsOf, warnings } from "../version/rows.js";
import { ENDED, versionLink } from "./jobs.js";

export async function view({ parameters: [id], signal }) {
  const path = `/v1/evaluations/${encodeURIComponent(id)}`;
  const page = h("div", { class: "stack", style: { gap: "1.4rem" } });
  const first = await get(path, { signal });
  const name = h("span", {}, first.file);
  get(`/v1/files/${first.file}`, { signal }).then((file) => replace(name, file.filename), (error) => error.status === 404 && replace(name, first.file, " (deleted)"));
  const draw = (evaluation) => replace(page, parts(evaluation, name, path, draw, signal));
  draw(first);
  if (!ENDED.includes(first.status)) watch(path, draw, signal);
  return page;
}

async function watch(path, draw, signal) {
  let status_ = "";
  while (!ENDED.includes(status_) && !signal.aborted) {
    await stream("GET", `${path}/events?stream=true`, { signal }, ({ type, data }) => {
      if (type !== "job") return;
      const evaluation = JSON.parse(data);
      if (evaluation.status !== status_ || evaluation.phase) draw(evaluation);
      status_ = evaluation.status;
    }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

function parts(evaluation, file, path, draw, signal) {
  const { report } = evaluation;
  const open = !ENDED.includes(evaluation.status);
  const cancel = open ? action("Cancel", async () => draw(await post(`${path}/cancel`)), "danger") : null;
  const csv = evaluation.result_files[0];
  return [
    header(`Evaluation of ${evaluation.version}`, h("span", { class: "row" }, status(evaluation.status), h("span", { class: "mono small" }, evaluation.id)),
      ...[cancel, csv ? action("Download the predictions", () => save(`/v1/files/${csv}/content`, "predictions.csv")) : null].filter(Boolean)),
    evaluation.error ? h("div", { class: "notice bad", role: "alert" }, h("strong", {}, evaluation.error.code), h("p", {}, evaluation.error.message)) : null,
    open ? h("p", { class: "notice", role: "status" }, evaluation.status === "queued" ? `Waiting for a worker${evaluation.jobs_before ? `; ${counted(evaluation.jobs_before, "job")} ahead` : ""}.` : `Running: ${evaluation.phase}.`) : null,
    evaluation.status === "cancelled" ? h("p", { class: "notice" }, "Cancelled. There is no result.") : null,
    card("About", origin(evaluation, file)),
    report ? results(evaluation, report, signal) : null,
    snippets(lines(evaluation, path)),
  ];
}

function origin({ version, against_version: against, created_at: created, started_at: started, finished_at: ended }, file) {
  return facts([["Version", versionLink(version)], ["Compared with", against ? versionLink(against) : null], ["File", file],
    ["Created", h("span", {}, moment(created), ", ", when(created))], ["Duration", started && ended ? duration(ended - started) : null]]);
}

// Reads this evaluation, and starts the same one again.
function lines({ id, version, against_version: against, file, columns }, path) {
  const again = { model: version, file, against: against || undefined, columns: Object.keys(columns || {}).length ? columns : undefined };
  const repeat = "Start the same evaluation again";
  return {
    curl: () => commented(["This evaluation", curl("GET", path)], [repeat, curl("POST", "/v1/evaluations", again)]),
    python: () => requests(["GET", path, null, "This evaluation"], ["POST", "/v1/evaluations", again, repeat]),
    cli: () => commented(["This evaluation", shell("ostinato", "jobs", "show", id)], [repeat, shell("ostinato", "evaluate", version, file, ...flags({ against: again.against, ...columnFlags(columns) }))]),
  };
}

function results(evaluation, report, signal) {
  const few = tooFew(report.metrics.rows);
  const plain = Object.entries(report.metrics).filter(([key, value]) => typeof value === "number" && !tooFew(report.metrics.rows, key));
  const examples = h("section", { class: "card evidence", "aria-live": "polite", "aria-label": "Examples" });
  const matrix = report.metrics.confusion_matrix;
  const open = (truth, predicted) => evidence(examples, [evaluation], cellOf({ ...report.metrics, rows_sha256: report.rows_sha256 }, truth, predicted, "evaluated rows"), signal);
  return [
    card("Result", report.comparison ? h("p", { class: "notice" }, comparedVersions(evaluation)) : null,
      few ? h("p", {}, `${verdict(report.metrics.rows)}.`) : h("div", { class: "stats" }, plain.map(([key, value]) => stat(title(key), figure(key, value), meaning(key, value, evaluation.task)))), h("p", { class: "small muted" }, "Measured on ", rowsOf(evaluation), "."), warnings(evaluation)),
    matrix ? h("div", { class: matrix.length > 5 ? "stack" : "columns" }, card("Confusions", confusion(Object.keys(report.metrics.per_class), matrix, open)),
      few ? null : card("Labels", perLabel(report.metrics.per_class))) : null,
    examples,
    report.mistakes ? card("Worst mistakes", mistakes(report.mistakes)) : null,
  ];
}

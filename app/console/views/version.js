// The page of a version: metrics, calibration, origin, and code for calling it.

import { get, post, response } from "../api.js";
import { chosen, fileSelect } from "../datasets.js";
import { h } from "../dom.js";
import { architecture, compact, number, title } from "../format.js";
import { action, card, code, empty, facts, field, header, later, link, stat, status, table, tag, toast, when } from "../parts.js";
import { inOrder, lengthBars, labelBars, remarks } from "../datareport.js";
import { mainMetric, show, splitOf, tooFew, verdict } from "../quality.js";
import { snippets } from "../snippets.js";
import { versionLink } from "./jobs.js";
import { calls, reads } from "../version/calls.js";
import { files } from "../version/files.js";
import { confusion, perLabel } from "../version/confusion.js";
import { evidence } from "../version/evidence.js";
import { reliability, threshold } from "../version/trust.js";

const NARROW_LABELS = 5;  // the confusion matrices of more labels need the whole width
const DETAILS = new Set(["per_class", "confusion_matrix", "rows_sha256", "rows", "of"]);

export async function view({ parameters: [name, number_], signal }) {
  const base = `/v1/registry/models/${encodeURIComponent(name)}/versions/${number_}`;
  const version = await get(base, { signal });
  const file = (path) => (path in version.files ? response("GET", `${base}/files/${path}`, { signal }) : Promise.resolve(null));
  const calibration = file("calibration.json").then((reply) => reply?.json());
  const training = file("training.json").then((reply) => reply?.json());
  const reports = get(`${base}/evaluations`, { signal }).then((page) => page.data);
  const examples = h("section", { class: "card evidence", "aria-live": "polite", "aria-label": "Examples" });
  return [
    top(version),
    figures(version),
    h("div", { class: version.labels.length > NARROW_LABELS ? "stack" : "columns" }, confusionCard(version, reports, examples, signal), perLabelCard(version)),
    examples,
    calibrationPart(version, calibration),
    evaluationCard(version, reports, signal),
    card("Data", later(training, (value) => dataOf(version, value))),
    h("div", { class: "columns" }, card("Settings", settings(version)), card("Lineage", later(training, (value) => lineage(version, value)))),
    card("Files", files(version, base, signal)),
    snippets(calls(version), "Call this version from your program"),
    snippets(reads(version), "Read and evaluate this version with curl, Python or the command line"),
  ];
}

function top(version) {
  const aliases = version.aliases.map((alias) => tag(`@${alias}`, `#/models/${encodeURIComponent(version.model)}`));
  return header(version.id, h("span", { class: "row" }, status(version.status), `${title(version.task)} with ${architecture(version.architecture)}`, aliases),
    h("a", { class: "button", href: `#/models/${encodeURIComponent(version.model)}` }, "All versions and aliases"),
    h("a", { class: "button", href: `#/compare?versions=${encodeURIComponent(version.id)}` }, "Compare"),
    h("a", { class: "button primary", href: `#/play?model=${encodeURIComponent(version.id)}` }, "Try it"));
}

function figures(version) {
  const splits = ["test", "validation"].filter((split) => version.metrics?.[split]);
  if (!splits.length) return card("Quality", empty("No metrics: there were no held-out rows, or the version was imported. Evaluate the version on a file to measure it."));
  const main = mainMetric(version);
  const baseline = version.metrics.baseline;
  return card("Quality", splits.map((split) => {
    const rows = version.metrics[split].rows;
    if (tooFew(rows)) return h("div", { class: "stack" }, h("h3", {}, title(split)), h("p", { class: "muted" }, `${verdict(rows)}.`));
    const values = metricsOf(version.metrics[split]);
    return h("div", { class: "stack" }, h("h3", {}, `${title(split)}${rows ? `, ${number(rows)} rows` : ""}`),
      h("div", { class: "stats" }, values.map(([key, value]) => stat(title(key), show(key, value), split === main?.split && key === main.name ? spread(version, key, value) : ""))));
  }), baseline?.summary ? h("p", { class: "notice" }, baseline.summary) : null);
}

const metricsOf = (part) => Object.entries(part).filter(([key, value]) => !DETAILS.has(key) && typeof value === "number" && !tooFew(part.rows, key));

// The 95 % interval of an accuracy (Wilson, 1927), which is wide for small held-out sets.
function spread(version, key, share) {
  const n = version.metrics[splitOf(version)].rows;
  if (key !== "accuracy" || !n) return "";
  const z2 = 3.8416;
  const middle = (share + z2 / (2 * n)) / (1 + z2 / n);
  const half = (1.96 * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return `95 % interval ${show(key, Math.max(0, middle - half))} to ${show(key, Math.min(1, middle + half))}`;
}

function confusionCard(version, reports, examples, signal) {
  const part = version.metrics?.[splitOf(version)];
  if (!part?.confusion_matrix) return null;
  return card("Confusions", later(reports, (list) => [
    confusion(Object.keys(part.per_class), part.confusion_matrix, (truth, predicted) => evidence(examples, list, { truth, predicted }, signal)),
    h("p", { class: "small muted" }, `Counts of the ${splitOf(version)} rows. Rows: true labels. Columns: predicted labels. `, list.length ? "Select a cell to see its examples from the newest evaluation." : "Evaluate the version on a file below to open the examples of each cell.")]));
}

function perLabelCard(version) {
  const part = version.metrics?.[splitOf(version)];
  return part?.per_class && !tooFew(part.rows) ? card("Labels", perLabel(part.per_class)) : null;
}

function calibrationPart(version, calibration) {
  return later(calibration, (value) => {
    if (!value || tooFew(value.rows)) return null;
    return h("div", { class: "columns" }, value.after?.bins ? card("Calibration", reliability(value)) : null,
      value.risk?.length ? card("Threshold for answers", threshold(value, version)) : null);
  });
}

function evaluationCard(version, reports, signal) {
  const choice = h("div", { class: "slot" });
  const start = (fileId) => async () => {
    const made = await post("/v1/evaluations", { model: version.id, file: fileId() });
    toast("The evaluation is queued");
    location.hash = `#/evaluations/${made.id}`;
  };
  fileSelect(signal).then((control) => choice.append(control ? h("div", { class: "row" }, field("File", control), action("Evaluate", start(() => chosen(control))))
    : h("p", { class: "small muted" }, "Upload a file with labels under Files to evaluate on it."))).catch(() => {});
  const columns = [
    { name: "Evaluation", kind: "long", cell: (e) => link(e.id, `#/evaluations/${e.id}`, { class: "mono small" }) },
    { name: "Against", cell: (e) => (e.against_version ? versionLink(e.against_version) : "–") },
    { name: "Result", kind: "long", cell: (e) => e.report?.comparison?.summary || resultOf(e.report) }, { name: "Ended", kind: "nowrap", narrow: false, cell: (e) => when(e.finished_at) },
  ];
  return card("Evaluations on files", h("p", { class: "small muted" }, "Measures this version on every row of a file, and lists its worst mistakes."), choice,
    later(reports, (list) => table(columns, list, { caption: "Evaluations", blank: "Not evaluated on a file yet." })));
}

function resultOf(report) {
  const metrics = report?.metrics || {};
  return tooFew(metrics.rows) ? verdict(metrics.rows) : metricsOf(metrics).slice(0, 2).map(([k, v]) => `${title(k)} ${show(k, v)}`).join(", ");
}

function dataOf(version, training) {
  const report = training?.data?.report;
  if (!report) return version.labels.length ? [h("p", { class: "muted" }, `${number(version.labels.length)} labels: `, version.labels.slice(0, 30).join(", "))] : empty("This version has no data report.");
  const rows = inOrder(report.rows || {}).map(([split, count]) => stat(title(split), compact(count), count === 1 ? "row" : "rows"));
  const repeats = Object.values(report.duplicates || {}).reduce((a, b) => a + b, 0);
  return [h("div", { class: "stats" }, rows, repeats ? stat("Duplicates", compact(repeats), repeats === 1 ? "row" : "rows") : null, report.conflicting_labels ? stat("Contradictory", compact(report.conflicting_labels), "inputs with two labels") : null),
    h("div", { class: "columns" }, labelBars(report.labels), lengthBars(report.length_histogram)), remarks(report.remarks || [])];
}

function settings(version) {
  const plain = Object.entries(version.config).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value) && value !== 0 && value !== "");
  return [facts([["Parameters", number(version.parameters)], ["Labels", version.labels.length ? number(version.labels.length) : null], ["Created", when(version.created_at)], ["Owner", version.owner]]),
    h("details", { class: "more" }, h("summary", {}, "Network"), facts(plain.map(([key, value]) => [title(key), typeof value === "number" ? number(value) : String(value)])))];
}

function lineage(version, training) {
  return facts([
    ["Job", version.job_id ? link(version.job_id, `#/jobs/${version.job_id}`, { class: "mono small" }) : "imported"],
    ["Fine-tuned from", training?.base ? code(String(training.base.reference || training.base.digest || "").slice(0, 40)) : null],
    ["Data, SHA-256", training?.data?.training_file ? code(String(training.data.training_file).slice(0, 16) + "…") : null],
    ["Digest", h("span", { title: version.digest }, code(`${version.digest.slice(0, 16)}…`))],
    ["Seed", training?.seed === undefined ? null : String(training.seed)],
  ]);
}


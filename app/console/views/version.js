// The page of a version: metrics, calibration, origin, and code for calling it.

import { get, response } from "../api.js";
import { h, replace } from "../dom.js";
import { comparedWithBaseline } from "../comparison.js";
import { architecture, compact, figure, number, title } from "../format.js";
import { button, card, code, copy, empty, facts, header, later, link, stat, status, tag, when } from "../parts.js";
import { inOrder, lengthBars, labelBars, remarks } from "../datareport.js";
import { mainMetric, meaning, metricsOf, splitOf, tooFew, verdict } from "../quality.js";
import { flat } from "../options.js";
import { promotion } from "../promotion.js";
import { snippets } from "../snippets.js";
import { trainPlace } from "../training/earlier.js";
import { versionLink } from "./jobs.js";
import { calls, reads } from "../version/calls.js";
import { modelCard } from "../version/card.js";
import { perLabel } from "../version/confusion.js";
import { heldOut, usage } from "../version/evaluate.js";
import { Evaluated } from "../version/evaluated.js";
import { files } from "../version/files.js";
import { reliability } from "../version/calibration.js";
import { threshold } from "../version/threshold.js";

const NARROW_LABELS = 5;  // a confusion matrix with more labels needs the whole width

export async function view({ parameters: [name, number_], signal }) {
  const base = `/v1/registry/models/${encodeURIComponent(name)}/versions/${number_}`;
  const version = await get(base, { signal });
  const conflict = h("div", { class: "slot" });
  const file = (path) => (path in version.files ? response("GET", `${base}/files/${path}`, { signal }) : Promise.resolve(null));
  const calibration = file("calibration.json").then((reply) => reply?.json());
  const training = file("training.json").then((reply) => reply?.json());
  const about = file("README.md").then((reply) => reply?.text());
  const job = version.job_id ? get(`/v1/fine_tuning/jobs/${version.job_id}`, { signal }).catch(() => null) : Promise.resolve(null);  // the key may lack the required scope
  const origin = Promise.all([job, training.catch(() => null)]);
  const data = { own: origin.then((known) => heldOut(...known, signal)), used: origin.then((known) => usage(...known)), columns: origin.then(([, known]) => known?.spec?.columns || {}) };
  const parts = new Evaluated(version, base, data, signal);
  return [
    top(version, conflict, signal),
    conflict,
    figures(version),
    h("div", { class: version.labels.length > NARROW_LABELS ? "stack" : "columns" }, parts.confusions, perLabelCard(version)),
    parts.examples,
    calibrationPart(version, calibration, parts),
    parts.mistakes,
    parts.list,
    card("Data", later(training, (value) => dataOf(version, value))),
    h("div", { class: "columns" }, card("Settings", later(training, (value) => settings(version, value))), card("Lineage", later(Promise.all([training, job]), (known) => lineage(version, ...known, signal)))),
    "README.md" in version.files ? card("Model card", later(about, modelCard)) : null,
    card("Files", files(version, base, signal)),
    snippets(calls(version), "Call this version from your program"),
    snippets(reads(version), "Read and evaluate this version with curl, Python or the command line"),
  ];
}

function top(version, conflict, signal) {
  const aliases = version.aliases.map((alias) => tag(`@${alias}`, `#/models/${encodeURIComponent(version.model)}`));
  return header(version.id, h("span", { class: "row" }, status(version.status), `${title(version.task)} with ${architecture(version.architecture)}`, aliases),
    h("a", { class: "button", href: `#/models/${encodeURIComponent(version.model)}` }, "All versions and aliases"),
    h("a", { class: "button", href: trainPlace(version) }, "Train a new version"),
    h("a", { class: "button", href: `#/compare?versions=${encodeURIComponent(version.id)}` }, "Compare"),
    version.status === "ready" ? promotion(version.id, conflict, signal, version.aliases) : null,
    h("a", { class: "button primary", href: `#/play?model=${encodeURIComponent(version.id)}` }, "Try it"));
}

function figures(version) {
  const splits = ["test", "validation"].filter((split) => version.metrics?.[split]);
  if (!splits.length) return card("Quality", empty("No metrics: there were no held-out rows, or the version was imported. Evaluate the version on a file to measure it."));
  const main = mainMetric(version);
  const compared = version.metrics.baseline ? comparedWithBaseline(version) : "";
  return card("Quality", splits.map((split) => {
    const rows = version.metrics[split].rows;
    if (tooFew(rows)) return h("div", { class: "stack" }, h("h3", {}, title(split)), h("p", { class: "muted" }, `${verdict(rows)}.`));
    const values = metricsOf(version.metrics[split]);
    return h("div", { class: "stack" }, h("h3", {}, `${title(split)}${rows ? `, ${number(rows)} rows` : ""}`),
      h("div", { class: "stats" }, values.map(([key, value]) => stat(title(key), figure(key, value), (split === main?.split && key === main.name && spread(version, key, value)) || meaning(key, value, version.task)))));
  }), compared ? h("p", { class: "notice" }, compared) : null);
}

// The 95 % interval of an accuracy (Wilson, 1927), which is wide for small held-out sets.
function spread(version, key, share) {
  const n = version.metrics[splitOf(version)].rows;
  if (key !== "accuracy" || !n) return "";
  const z2 = 3.8416;
  const middle = (share + z2 / (2 * n)) / (1 + z2 / n);
  const half = (1.96 * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return `95\u202f% interval ${figure(key, Math.max(0, middle - half))} to ${figure(key, Math.min(1, middle + half))}`;
}

function perLabelCard(version) {
  const part = version.metrics?.[splitOf(version)];
  return part?.per_class && !tooFew(part.rows) ? card("Labels", perLabel(part.per_class)) : null;
}

function calibrationPart(version, calibration, parts) {
  return later(calibration, (value) => {
    if (!value || tooFew(value.rows)) return null;
    return h("div", { class: "columns" }, value.after?.bins ? card("Calibration", reliability(value)) : null,
      value.risk?.length ? card("Threshold for answers", threshold(value, version, parts)) : null);
  });
}

function dataOf(version, training) {
  const report = training?.data?.report;
  if (!report) return version.labels.length ? [h("p", { class: "muted" }, `${number(version.labels.length)} labels: `, version.labels.slice(0, 30).join(", "))] : empty("This version has no data report.");
  const rows = inOrder(report.rows || {}).map(([split, count]) => stat(title(split), compact(count), count === 1 ? "row" : "rows"));
  const repeats = Object.values(report.duplicates || {}).reduce((a, b) => a + b, 0);
  return [h("div", { class: "stats" }, rows, repeats ? stat("Duplicates", compact(repeats), repeats === 1 ? "row" : "rows") : null, report.conflicting_labels ? stat("Contradictory", compact(report.conflicting_labels), "inputs with two labels") : null),
    h("div", { class: "columns" }, labelBars(report.labels), lengthBars(report.length_histogram)), remarks(report.remarks || [])];
}

const scalars = (values) => Object.entries(flat(values)).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value) && value !== 0 && value !== "")
  .map(([key, value]) => [title(key), typeof value === "number" ? number(value) : key === "architecture" ? architecture(value) : String(value)]);

function settings(version, training) {
  const requested = scalars(training?.spec?.training);
  const chosen = scalars(training?.settled);
  const group = (name, values) => (values.length ? h("details", { class: "more" }, h("summary", {}, name), facts(values)) : null);
  return [facts([["Parameters", number(version.parameters)], ["Labels", version.labels.length ? number(version.labels.length) : null], ["Created", when(version.created_at)], ["Owner", version.owner]]),
    group("Network", scalars(version.config)), group("Training, as requested", requested), group("Training, as chosen before the first step", chosen)];
}

const hash = (value) => (value ? h("span", { class: "hash" }, code(value), " ", button("Copy", () => copy(value), "small")) : null);

// The name of a file, with a link to the list of files while the file is stored.
function fileOf(name, id, signal) {
  const shown = h("span", {}, name);
  if (name && id) get(`/v1/files/${id}`, { signal }).then(() => replace(shown, link(name, "#/files")), (error) => error.status === 404 && replace(shown, `${name} (deleted)`));
  return name && shown;
}

function lineage(version, training, job, signal) {
  return [facts([
    ["Job", version.job_id ? link(version.job_id, `#/jobs/${version.job_id}`, { class: "mono small" }) : "imported"],
    ["Fine-tuned from", training?.spec?.model === "base" && job ? versionLink(job.model) : null],
    ["Training file", fileOf(training?.spec?.training_file?.filename, job?.training_file, signal)], ["Seed", training?.seed === undefined ? null : String(training.seed)],
  ]), h("dl", { class: "facts wide" }, [["Training data, SHA-256", training?.data?.training_file], ["Validation data, SHA-256", training?.data?.validation_file], ["Digest of the version", version.digest]]
    .filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, hash(String(value))))))];
}

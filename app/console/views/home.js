// The home page: running jobs, the newest models and jobs, and the next step.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, counted, number, percent, title } from "../format.js";
import { card, code, empty, facts, failure, header, later, link, loading, table, when } from "../parts.js";
import { giveFile } from "../handover.js";
import { problems, watchHealth } from "../health.js";
import { quality } from "../quality.js";
import { curl, python, shell, snippets } from "../snippets.js";
import { jobColumns, repeat, versionLink } from "./jobs.js";
import { dropZone } from "./train.js";

const JOBS = "/v1/fine_tuning/jobs?limit=5";
const maybe = (promise) => promise.catch((error) => ({ error }));

function healthInWords(report) {
  if (report.status === "ready") return h("p", { class: "notice good", role: "status" }, "Ready: the database responds, and an engine is running.");
  return h("div", { class: "notice bad", role: "alert" }, h("strong", {}, "The service cannot answer model requests"),
    h("ul", { class: "remarks" }, problems(report).map((problem) => h("li", {}, problem))));
}

// The state of the service, and the engines, which are read again when the state changes.
function health(signal) {
  const [words, engines] = [h("div", { class: "slot" }), h("div", { class: "slot" }, loading())];
  watchHealth(signal, async (report) => {
    replace(words, healthInWords(report));
    const state = await maybe(get("/v1/engine", { signal }));
    if (!signal.aborted) replace(engines, enginePart(state));
  });
  return { words, engines };
}

function enginePart({ engines, error }) {
  if (error) return failure(error);
  if (!engines.length) return empty("No engine is running.", h("p", {}, "Start one with ostinato up, or add one with ostinato engine."));
  return engines.map((engine) => [
    facts([["Device", engine.device], ["Threads", engine.threads], ["Process", engine.pid],
      ["Loaded", counted(engine.versions.length, "version")]]),
    engine.versions.length ? table([
      { name: "Version", kind: "long", cell: (v) => versionLink(v.ref) },
      { name: "Running", kind: "number", cell: (v) => v.running }, { name: "Waiting", kind: "number", cell: (v) => v.waiting },
      { name: "Memory", kind: "number", cell: (v) => bytes(v.bytes + v.cache_bytes) },
    ], engine.versions, { caption: "Loaded versions" }) : h("p", { class: "muted small" }, "Engines load a version when it is first requested."),
  ]);
}

const versionColumns = [
  { name: "Version", kind: "long", cell: (v) => versionLink(v.id) },
  { name: "Quality", cell: (v) => quality(v) },
  { name: "Created", kind: "nowrap", cell: (v) => when(v.created_at) },
];

const KINDS = [["fine_tuning", "training job"], ["evaluations", "evaluation"], ["batches", "batch", "batches"]];

// The unfinished jobs of each kind, such as “Training jobs: 1 running, 3 waiting.”
function queueInWords(queue) {
  const sentences = KINDS.map(([kind, one, many = `${one}s`]) => {
    const { running, queued, paused } = queue[kind];
    const parts = [[running, "running"], [queued, "waiting"], [paused, "paused"]].filter(([count]) => count).map(([count, state]) => `${number(count)} ${state}`);
    return parts.length ? `${title(many)}: ${parts.join(", ")}.` : "";
  });
  return sentences.filter(Boolean).join(" ") || "No jobs are running or waiting.";
}

const heldPlace = (job) => ({ fine_tuning: `#/jobs/${job.id}`, evaluation: `#/evaluations/${job.id}` })[job.kind];

function workerPart(queue) {
  const waiting = KINDS.some(([kind]) => queue[kind].queued);
  if (!queue.running.length) return waiting ? h("p", { class: "notice warn" }, "Jobs are waiting, but no worker is running a job. If this does not change, start a worker with ", code("ostinato up"), " or ", code("ostinato worker"), ".")
    : h("p", { class: "muted" }, "No worker has a job at the moment. Idle workers are not listed.");
  return table([
    { name: "Worker", cell: (job) => job.worker },
    { name: "Job", kind: "long", cell: (job) => (heldPlace(job) ? link(job.name || job.id, heldPlace(job)) : job.id) },
    { name: "Done", kind: "number", cell: (job) => percent(job.progress, 0) },
    { name: "Started", kind: "nowrap", cell: (job) => when(job.started_at) },
  ], queue.running, { caption: "Workers with a job" });
}

// The newest jobs, the numbers of unfinished ones, and the workers, kept up to date.
function work(first, signal) {
  const [words, list, workers] = ["p", "div", "div"].map((tag) => h(tag, { class: tag === "p" ? "muted" : "slot" }));
  const show = ({ data, error }, queue) => {
    replace(words, queue.error ? null : queueInWords(queue));
    replace(list, error ? failure(error) : [table(jobColumns, data, { caption: "Newest jobs", blank: "No training jobs yet." }), data.length ? link("All jobs", "#/jobs") : null]);
    replace(workers, queue.error ? failure(queue.error) : workerPart(queue));
  };
  const box = h("div", { class: "slot" }, words, list);
  const look = async (jobs) => show(...(await Promise.all([jobs, maybe(get("/v1/queue", { signal }))])));
  look(first);
  repeat(async () => look(await get(JOBS, { signal })), box, signal);
  return { jobs: box, workers };
}

export async function view({ signal }) {
  const jobs = maybe(get(JOBS, { signal }));
  const versions = maybe(get("/v1/registry/versions?limit=6", { signal }));
  const [{ data: made = [] }, { data: begun = [] }] = await Promise.all([versions, jobs]);
  const { words, engines } = health(signal);
  const start = dropZone((file) => { giveFile(file); location.hash = "#/train"; });
  const first = !made.length && !begun.length;
  const shown = first ? null : work(jobs, signal);
  return [
    header(first ? "Train your first model" : "Home", first ? "A CSV file with the columns text and label is enough. You can check the data before training starts."
      : "Running jobs and the newest models."),
    words,
    first ? [start, h("p", { class: "muted small" }, "No data yet? ", "The file examples/messages.csv contains 200 labelled messages. After a restart with ", code("ostinato up --demo"), ", the service trains six small models.")] : null,
    first ? null : h("div", { class: "columns uneven" },
      card("Newest models", later(versions, ({ data, error }) => (error ? failure(error) : [
        table(versionColumns, data, { caption: "Newest versions", blank: "No versions yet." }), data.length ? link("All models", "#/models") : null]))),
      start),
    first ? null : card("Jobs", shown.jobs),
    h("div", { class: "columns" }, first ? null : card("Workers", shown.workers), card("Engines", engines)),
    snippets({
      curl: () => [curl("GET", "/readyz"), curl("GET", "/v1/engine")].join("\n"),
      python: () => python("GET", "/v1/engine"), cli: () => [shell("ostinato", "ps"), shell("ostinato", "doctor"), shell("ostinato", "jobs")].join("\n"),
    }),
  ];
}

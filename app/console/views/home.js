// The home page: running jobs, the newest models and jobs, and the next step.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, counted } from "../format.js";
import { card, code, empty, facts, failure, header, later, link, table, when } from "../parts.js";
import { giveFile } from "../handover.js";
import { problems, watchHealth } from "../health.js";
import { quality } from "../quality.js";
import { curl, python, shell, snippets } from "../snippets.js";
import { jobColumns, repeat, versionLink } from "./jobs.js";
import { dropZone } from "./train.js";

const JOBS = "/v1/fine_tuning/jobs?limit=20";
const maybe = (promise) => promise.catch((error) => ({ error }));

function healthInWords(report) {
  if (report.status === "ready") return h("p", { class: "notice good", role: "status" }, "Ready: the database responds, and an engine is running.");
  return h("div", { class: "notice bad", role: "alert" }, h("strong", {}, "The service cannot answer model requests"),
    h("ul", { class: "remarks" }, problems(report).map((problem) => h("li", {}, problem))));
}

function health(signal) {
  const box = h("div", { class: "slot" });
  watchHealth(signal, (report) => replace(box, healthInWords(report)));
  return box;
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
  { name: "Quality", narrow: false, cell: (v) => quality(v) },
  { name: "Created", kind: "nowrap", cell: (v) => when(v.created_at) },
];

function queueInWords(jobs) {
  const count = (...names) => jobs.filter((job) => names.includes(job.status)).length;
  const [running, waiting, paused] = [count("running", "validating_files"), count("queued"), count("paused")];
  if (!running && !waiting && !paused) return "No jobs are running or waiting.";
  return [running && `${running} running`, waiting && `${waiting} waiting`, paused && `${paused} paused`].filter(Boolean).join(", ") + ".";
}

function jobList(first, signal) {
  const show = ({ data, error }) => (error ? failure(error) : [
    h("p", { class: "muted" }, queueInWords(data)), table(jobColumns, data.slice(0, 5), { caption: "Newest jobs", blank: "No training jobs yet." }),
    data.length ? link("All jobs", "#/jobs") : null]);
  const box = later(first, show);
  repeat(async () => replace(box, show(await get(JOBS, { signal }))), box, signal);
  return box;
}

export async function view({ signal }) {
  const jobs = maybe(get(JOBS, { signal }));
  const versions = maybe(get("/v1/registry/versions?limit=6", { signal }));
  const [{ data: made = [] }, { data: work = [] }] = await Promise.all([versions, jobs]);
  const start = dropZone((file) => { giveFile(file); location.hash = "#/train"; });
  const first = !made.length && !work.length;
  return [
    header(first ? "Train your first model" : "Home", first ? "A CSV file with the columns text and label is enough. You can check the data before training starts."
      : "Running jobs and the newest models."),
    health(signal),
    first ? [start, h("p", { class: "muted small" }, "No data yet? ", code("ostinato up --demo"), " trains six small models, and examples/messages.csv contains 200 labelled messages.")] : null,
    first ? null : h("div", { class: "columns uneven" },
      card("Newest models", later(versions, ({ data, error }) => (error ? failure(error) : [
        table(versionColumns, data, { caption: "Newest versions", blank: "No versions yet." }), data.length ? link("All models", "#/models") : null]))),
      h("div", { class: "stack" }, start)),
    first ? null : card("Jobs", jobList(jobs, signal)),
    card("Engines", later(maybe(get("/v1/engine", { signal })), enginePart)),
    snippets({
      curl: () => [curl("GET", "/readyz"), curl("GET", "/v1/engine")].join("\n"),
      python: () => python("GET", "/v1/engine"), cli: () => [shell("ostinato", "ps"), shell("ostinato", "doctor"), shell("ostinato", "jobs")].join("\n"),
    }),
  ];
}

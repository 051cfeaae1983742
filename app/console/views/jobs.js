// The list of training jobs and evaluations.

import { get, query } from "../api.js";
import { h, replace } from "../dom.js";
import { ARCHITECTURES, architecture, duration } from "../format.js";
import { button, empty, failure, header, later, link, loading, progress, status, table, tabs, when } from "../parts.js";
import { curl, openai, shell, snippets } from "../snippets.js";

export const ENDED = ["succeeded", "failed", "cancelled"];
const EVERY = 3000;  // milliseconds

export const jobName = (job) => job.publish?.name || job.suffix || job.id;
const took = ({ status: state, started_at: started, finished_at: ended }) => {
  const end = ended || (state === "running" ? Date.now() / 1000 : null);
  return started && end ? duration(Math.max(0, end - started)) : "–";
};

// The architecture that a job trains, or the version that it fine-tunes.
export const trainedFrom = ({ model }) => (model in ARCHITECTURES || model === "auto" ? architecture(model) : h("span", {}, "that of ", versionLink(model)));

export const jobColumns = [
  { name: "Job", kind: "long", cell: (job) => h("div", {}, link(jobName(job), `#/jobs/${job.id}`), h("div", { class: "small muted mono wide-only" }, job.id)) },
  { name: "Architecture", cell: trainedFrom },
  { name: "Status", cell: (job) => h("div", { class: "stack", style: { gap: ".3rem" } }, h("span", {}, status(job.status)),
    job.status === "running" ? progress(job.progress, "Progress") : null,
    job.jobs_before ? h("span", { class: "small muted" }, `${job.jobs_before} before it`) : null) },
  { name: "Version", cell: (job) => (job.fine_tuned_model ? versionLink(job.fine_tuned_model) : "–") },
  { name: "Time", kind: "number", cell: (job) => took(job) },
  { name: "Created", kind: "nowrap", cell: (job) => when(job.created_at) },
];

export function versionPlace(reference) {
  const [model, version] = reference.split(":");
  return `#/models/${encodeURIComponent(model)}${version ? `/${version}` : ""}`;
}
export const versionLink = (reference) => (reference.includes(":") ? link(reference, versionPlace(reference)) : reference);

const evaluationColumns = [
  { name: "Evaluation", kind: "long", cell: (e) => link(e.id, `#/evaluations/${e.id}`, { class: "mono small" }) },
  { name: "Version", cell: (e) => versionLink(e.version) },
  { name: "Against", cell: (e) => (e.against_version ? versionLink(e.against_version) : "–") },
  { name: "Status", cell: (e) => status(e.status) },
  { name: "Created", kind: "nowrap", cell: (e) => when(e.created_at) },
];

// Calls `look` every few seconds while the page is visible, except while the reader is in `box`.
export function repeat(look, box, signal) {
  const timer = setInterval(() => {
    if (!document.hidden && !box.contains(document.activeElement)) look().catch(() => {});
  }, EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

// A list with a button that loads the next page. If `live`, the first page is updated while any of its items is open.
export function paged(path, columns, signal, { values = {}, blank, caption, live = false } = {}) {
  const rows = [];
  const box = h("div", { class: "stack" }, loading());
  async function next() {
    const after = rows.length ? rows[rows.length - 1].id : undefined;
    const page = await get(path + query({ ...values, limit: 50, after }), { signal });
    show(page);
  }
  function show(page) {
    rows.push(...page.data);
    replace(box, table(columns, rows, { caption, blank }), page.has_more ? h("div", {}, button("Show more", next)) : null);
  }
  async function update() {
    if (!rows.length || rows.length > 50 || rows.every((row) => ENDED.includes(row.status))) return;
    const page = await get(path + query({ ...values, limit: 50 }), { signal });
    rows.length = 0;
    show(page);
  }
  if (live) repeat(update, box, signal);
  next().catch((error) => error.name !== "AbortError" && replace(box, failure(error, next)));
  return box;
}

export async function view({ signal }) {
  const blank = "No training jobs yet.";
  return [
    header("Jobs", "Training jobs and evaluations, newest first.", h("a", { class: "button primary", href: "#/train" }, "New training")),
    tabs([
      ["Training", () => h("section", { class: "card" }, paged("/v1/fine_tuning/jobs", jobColumns, signal, { blank, caption: "Training jobs", live: true }))],
      ["Evaluations", () => h("section", { class: "card" }, paged("/v1/evaluations", evaluationColumns, signal, { blank: "No evaluations yet. Start one from a version's page.", caption: "Evaluations", live: true }))],
    ]),
    snippets({
      curl: () => curl("GET", "/v1/fine_tuning/jobs?limit=20"),
      openai: () => openai("for job in client.fine_tuning.jobs.list():\n    print(job.id, job.status, job.fine_tuned_model)"),
      cli: () => shell("ostinato", "jobs"),
    }),
  ];
}

// The uploaded files: data sets and results.

import { call, get, save, upload } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, counted, number } from "../format.js";
import { action, header, link, progress, toast, when } from "../parts.js";
import { commented, curl, form, openai, shell, snippets } from "../snippets.js";
import { paged } from "./jobs.js";
import { dropZone } from "./train.js";

const JOBS = 100;  // the newest jobs that are searched for a file
const SHOWN = 6;  // columns
const PURPOSES = { "fine-tune": "data set", "fine-tune-results": "result of a job", evals: "result of an evaluation", batch: "requests of a batch", batch_output: "answers of a batch" };

// Returns the newest jobs with each file, the newest first. A key without the required scope sees none.
async function uses(signal) {
  const { data } = await get(`/v1/fine_tuning/jobs?limit=${JOBS}`, { signal }).catch(() => ({ data: [] }));
  const jobs = new Map();
  for (const job of data)
    for (const id of new Set([job.training_file, job.validation_file])) if (id) jobs.set(id, [...(jobs.get(id) || []), job]);
  return jobs;
}

function columnNames({ columns }) {
  if (!columns) return "–";
  const rest = columns.length - SHOWN;
  return columns.slice(0, SHOWN).join(", ") + (rest > 0 ? ` and ${number(rest)} more` : "");
}

const usedBy = (jobs) => (jobs ? link(counted(jobs.length, "job"), `#/jobs/${jobs[0].id}`, { title: "The newest of these jobs" }) : "–");

export async function view({ signal, show }) {
  const jobs = await uses(signal);
  const columns = [
    { name: "File", kind: "long", cell: (f) => h("div", {}, f.filename, h("div", { class: "small muted mono wide-only" }, f.id)) },
    { name: "Purpose", cell: (f) => PURPOSES[f.purpose] || f.purpose }, { name: "Rows", kind: "number", cell: (f) => number(f.rows) },
    { name: "Columns", cell: columnNames }, { name: "Size", kind: "number", cell: (f) => bytes(f.bytes) },
    { name: "Uploaded", kind: "nowrap", cell: (f) => when(f.created_at) }, { name: "Used by", kind: "nowrap", cell: (f) => usedBy(jobs.get(f.id)) },
    { name: "", kind: "does", cell: (f) => h("span", { class: "row" }, f.purpose === "fine-tune" ? link("Train", `#/train?file=${f.id}`, { class: "button small", "aria-label": `Train on ${f.filename}` }) : null, action("Download", () => save(`/v1/files/${f.id}/content`, f.filename), "small"), action("Delete", () => remove(f, jobs.get(f.id), show), "small danger")) },
  ];
  const sending = h("div", { class: "slot" });
  return [
    header("Files", "Data sets to train and evaluate on, and the results of jobs."), dropZone((file) => send(file, sending, signal, show)), sending,
    h("section", { class: "card" }, paged("/v1/files", columns, signal, { caption: "Files", blank: "No files yet. Drop a file above." })),
    snippets({
      curl: () => commented(["Upload a file", form("/v1/files", { purpose: "fine-tune", file: "@data.csv" })], ["All files", curl("GET", "/v1/files")]),
      openai: () => openai('file = client.files.create(file=open("data.csv", "rb"), purpose="fine-tune")\nprint(file.id)\nfor file in client.files.list():\n    print(file.id, file.filename)'),
      cli: () => commented(["Upload a file", shell("ostinato", "files", "upload", "data.csv")], ["All files", shell("ostinato", "files")]),
    }),
  ];
}

async function send(file, box, signal, show) {
  const bar = progress(0, "Upload");
  replace(box, h("p", { class: "muted small", role: "status" }, `Uploading ${file.name}, ${bytes(file.size)}…`), bar);
  try {
    await upload(file, {}, (share) => (bar.value = share), signal);
    toast(`${file.name} is uploaded`);
    await show();
  } catch (error) {
    replace(box);
    toast(error.message, "bad");
  }
}

async function remove(file, jobs, show) {
  const used = jobs ? ` ${counted(jobs.length, "training job")} used it.` : "";
  if (!confirm(`Delete ${file.filename}, ${bytes(file.bytes)}?${used} Versions that were trained on it are kept, but cannot be trained again on the same data.`)) return;
  await call("DELETE", `/v1/files/${file.id}`);
  toast(`${file.filename} is deleted`);
  await show();
}

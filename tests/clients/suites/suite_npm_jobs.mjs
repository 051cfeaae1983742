// The npm package `openai`: files, uploads, batches, fine-tuning, decisions and webhooks. Run in the packages' folder.
import { toFile } from "openai";
import { client, complaint, crash, joined, missing, refused, report, sameVectors, until, upload, works } from "./calls.mjs";

await works("openai", "files.create, retrieve, content, list, delete", async () => {
  const made = await upload("a.csv", "fine-tune", "text,label\ngood,yes\n");
  const found = await client.files.retrieve(made.id);
  const content = await (await client.files.content(made.id)).text();
  const listed = await joined(client.files.list(), (f) => `${f.id} `);
  const gone = await client.files.delete(made.id);
  return { name: found.filename, content, listed: listed.includes(made.id), deleted: gone.deleted };
}, (v) => v.name === "a.csv" && v.content === "text,label\ngood,yes\n" && v.listed && v.deleted);
await works("openai", "batches.create, retrieve, output", async () => {
  const line = { custom_id: "one", method: "POST", url: "/v1/embeddings", body: { model: "departments", input: complaint } };
  const input = await upload("requests.jsonl", "batch", JSON.stringify(line));
  const made = await client.batches.create({ input_file_id: input.id, endpoint: "/v1/embeddings", completion_window: "24h" });
  const batch = await until((b) => !["validating", "in_progress", "finalizing"].includes(b.status), () => client.batches.retrieve(made.id));
  const [output] = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((l) => JSON.parse(l));
  return { id: output.custom_id, vector: output.response.body.data[0].embedding };
}, (v) => v.id === "one" && sameVectors([v.vector], complaint));
const rows = (count) => Array.from({ length: count }, (_, n) => `good ${n},yes\nbad ${n},no\n`).join("");
const table = `text,label\n${rows(50)}`;
await works("openai", "files.waitForProcessing", async () => client.files.waitForProcessing((await upload("b.csv", "fine-tune", table)).id), (f) => f.status === "processed" && f.bytes === table.length);
await works("openai", "uploads.create, parts.create, complete", async () => {
  const parts = ["text,la", "bel\na,b\nc,d\n"];
  const begun = await client.uploads.create({ bytes: parts.join("").length, filename: "parts.csv", mime_type: "text/csv", purpose: "fine-tune" });
  const ids = [];
  for (const part of parts) ids.push((await client.uploads.parts.create(begun.id, { data: await toFile(Buffer.from(part)) })).id);
  const done = await client.uploads.complete(begun.id, { part_ids: ids });
  return { status: done.status, content: await (await client.files.content(done.file.id)).text() };
}, (v) => v.status === "completed" && v.content === "text,label\na,b\nc,d\n");
await works("openai", "uploads.cancel", async () => client.uploads.cancel((await client.uploads.create({ bytes: 9, filename: "a.csv", mime_type: "text/csv", purpose: "fine-tune" })).id), (u) => u.status === "cancelled");

const jobs = client.fineTuning.jobs;
const file = await upload("c.csv", "fine-tune", table);
const marks = { suite: "npm openai", file: file.id };
const job = await jobs.create({ model: "lstm", training_file: file.id, metadata: marks, training: { max_steps: 1_000_000 } });
const reached = (status) => until((j) => j.status === status, () => jobs.retrieve(job.id));
await works("openai", "fineTuning.jobs.create", async () => job, (j) => ["validating_files", "queued", "running"].includes(j.status));
await works("openai", "fineTuning.jobs.retrieve", async () => jobs.retrieve(job.id), (j) => j.id === job.id && j.metadata.file === marks.file);
await works("openai", "fineTuning.jobs.list", async () => joined(jobs.list({ limit: 2 }), (j) => `${j.id} `), (ids) => ids.includes(job.id));
await works("openai", "fineTuning.jobs.list, metadata", async () => joined(jobs.list({ metadata: marks }), (j) => j.id), (ids) => ids === job.id);
await works("openai", "fineTuning.jobs.listEvents", async () => joined(jobs.listEvents(job.id), (e) => e.message), (messages) => messages.length > 0);
await works("openai", "fineTuning.jobs.pause", async () => { await jobs.pause(job.id); return reached("paused"); }, (j) => j.id === job.id);
await works("openai", "fineTuning.jobs.resume", async () => jobs.resume(job.id), (j) => j.id === job.id && j.status === "queued");
await works("openai", "fineTuning.jobs.cancel", async () => { await jobs.cancel(job.id); return reached("cancelled"); }, (j) => j.id === job.id);
await refused("openai", "fineTuning.jobs.retrieve, unknown job", () => jobs.retrieve("ftjob-none"), "ftjob-none");
const short = await jobs.create({ model: "lstm", training_file: file.id, suffix: "npm", training: { batch_size: 8, max_steps: 4, width: 8, layers: 1, eval_every: 2 } });
const ended = await until((j) => ["succeeded", "failed"].includes(j.status), () => jobs.retrieve(short.id));
await works("openai", "fineTuning.jobs.create, until its model is ready", async () => client.models.retrieve(ended.fine_tuned_model), (m) => ended.status === "succeeded" && m.id === ended.fine_tuned_model);
await works("openai", "fineTuning.jobs.checkpoints.list", async () => (await jobs.checkpoints.list(short.id)).data, (found) => found[0].step_number === 4 && found[0].fine_tuning_job_id === short.id);
await works("openai", "models.delete", async () => client.models.delete(ended.fine_tuned_model), (d) => d.deleted);
await refused("openai", "fineTuning.checkpoints.permissions.list", () => client.fineTuning.checkpoints.permissions.list("ckpt"), "checkpoints have no permissions of their own");
await refused("openai", "responses.retrieve", () => client.responses.retrieve("resp_1"), "responses are not stored");
await refused("openai", "responses.compact", () => client.responses.compact({ model: "assistant-lstm", input: "a" }), "responses are not stored");
await refused("openai", "chat.completions.list", () => client.chat.completions.list(), "chat completions are not stored");

if (client.decisions?.create) {
  const questions = ["bug", "billing"].map((name) => ({ type: "predicate", name, instructions: "?" }));
  await works("openai", "decisions.create, multilabel", async () => (await client.decisions.create({ model: "tickets", input: crash, questions })).answers, ([bug, billing]) => bug.probability > 0.5 && billing.probability < 0.5);
} else missing("openai", "decisions.create", "not in this release");
if (client.webhooks.create) {
  const endpoint = await client.webhooks.create({ name: "npm", url: "https://example.com/webhooks", event_types: ["batch.completed"] });
  await works("openai", "webhooks.create, retrieve, delete", async () => [await client.webhooks.retrieve(endpoint.id), await client.webhooks.delete(endpoint.id)], ([found, gone]) => found.id === endpoint.id && gone.deleted);
} else missing("openai", "webhooks.create", "this release only verifies signatures");
report();

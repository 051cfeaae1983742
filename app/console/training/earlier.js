// The choices of an earlier training job, which are the initial choices for a new version of its model.

import { get } from "../api.js";

const SPLIT = 0.1;  // the default share of held-out rows

// The choices in a client's request for a job. A trial has the choices of the job that started it.
function choicesOf(job) {
  const own = { validation_file: job.validation_file, seed: job.seed, validation_split: job.validation_split === SPLIT ? null : job.validation_split };
  return {
    job: job.id, file: job.training_file, model: job.model, task: job.task || "", alias: job.publish.alias || "",
    name: job.publish.name || job.fine_tuned_model?.split(":")[0] || "", columns: job.columns, training: job.training,
    request: Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null)),
  };
}

// Reads the choices that the address of the page names: `again` is a job, and `name` is a model.
export async function earlier(search, signal) {
  const id = search.get("again");
  if (!id) return { name: search.get("name") || "" };
  const read = (job) => get(`/v1/fine_tuning/jobs/${encodeURIComponent(job)}`, { signal });
  const job = await read(id);
  return choicesOf(job.parent_id ? await read(job.parent_id) : job);
}

// The address of the page that trains a new version of a model, with the choices of the version's job if it has one.
export const trainPlace = ({ model, job_id: job }) => (job ? `#/train?again=${job}` : `#/train?name=${encodeURIComponent(model)}`);

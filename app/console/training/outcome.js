// What a finished training job has produced: whether its version repeats another one, and which checkpoint was kept.

import { get } from "../api.js";
import { h } from "../dom.js";
import { figure, number, percent } from "../format.js";
import { badge, link, table, when } from "../parts.js";
import { tooFew } from "../quality.js";

const LARGEST_TIE = 0.02;  // as in app/training/loop/selection.py
const COMPARED = 100;  // versions of the same model
const WEIGHTS = ["adapter_model.safetensors", "model.safetensors"];
const weights = ({ files }) => WEIGHTS.map((path) => files[path]?.sha256).find(Boolean);

// Returns the earlier version of the same model that has the same weights as a version, or undefined.
export async function twinOf(reference, signal) {
  const [name] = reference.split(":");
  const { data } = await get(`/v1/registry/models/${encodeURIComponent(name)}/versions?limit=${COMPARED}`, { signal });
  const own = data.find((v) => v.id === reference);
  return own && data.findLast((v) => v.version < own.version && v.status === "ready" && weights(v) === weights(own));
}

const score = ({ metrics }) => (tooFew(metrics.valid_rows) ? "too few rows" : figure("macro_f1", metrics.macro_f1));
const loss = ({ metrics }) => (metrics.full_valid_loss ?? metrics.valid_loss)?.toFixed(4) ?? "–";

const columns = (kept, scored) => [
  { name: "Step", kind: "number", cell: (c) => number(c.step_number) },
  ...(scored ? [{ name: "Validation macro F1", kind: "number", cell: score }] : []),
  { name: "Validation loss", kind: "number", cell: loss },
  { name: "Saved", cell: (c) => when(c.created_at) },
  { name: "", cell: (c) => (c === kept ? badge("kept", "good") : null) },
  { name: "", cell: (c) => link("Try", `#/play?model=${c.id}`, { "aria-label": `Try the checkpoint from step ${c.step_number}` }) },
];

// Why the newest checkpoint is the one that is kept. `metric` is the figure by which checkpoints are chosen.
function reason(metric, linear) {
  if (metric === "last" && linear) return "A linear model converges, so its last weights are kept. Earlier checkpoints are intermediate results.";
  if (metric === "last") return "There are too few validation rows to compare checkpoints, so the last weights are kept.";
  if (metric === "macro_f1") return `A checkpoint is saved when its macro F1 is higher than that of the one before, or when it ties with the highest one so far and has a lower loss. Differences of up to one row, and up to ${percent(LARGEST_TIE, 0)}, are ties. The newest checkpoint is kept.`;
  return "A checkpoint is saved when the validation loss is lower than before, so the newest has the lowest loss and is kept.";
}

// The checkpoints of a job, newest first. Those of a linear model before the newest are folded up.
export function checkpointList(list, { metric, linear, blank }) {
  const [kept, ...before] = list;
  const scored = metric === "macro_f1" || (!metric && list.some((c) => typeof c.metrics.macro_f1 === "number"));
  const make = (rows, caption) => table(columns(kept, scored), rows, { caption, blank });
  if (!kept) return make([], "Checkpoints");
  const note = h("p", { class: "small muted" }, metric ? reason(metric, linear) : "Newest first.");
  if (!linear || !before.length) return [note, make(list, "Checkpoints")];
  return [note, make([kept], "Checkpoints"), h("details", { class: "more" }, h("summary", {}, `Intermediate results (${before.length})`), make(before, "Intermediate results"))];
}

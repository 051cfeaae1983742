// The page for a new training job: choose a file, check the data, choose the model and its options, and start.

import { get, post } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, number } from "../format.js";
import { action, button, card, failure, field, header, loading, progress, select, toast } from "../parts.js";
import { dataPart, planPart } from "../datareport.js";
import { ARCHITECTURES, TASKS } from "../options.js";
import { takeFile } from "../handover.js";
import { columnFields } from "../training/columns.js";
import { fileCard, send, showFirstRows } from "../training/file.js";
import { optionFields } from "../training/options.js";
import { choices, lines, request } from "../training/request.js";
import { choose, finder, suggestModels } from "../versions.js";

export { dropZone } from "../training/file.js";

const nameOf = (filename) => filename.replace(/\..*$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 40);

export async function view({ signal, search }) {
  const page = h("div", { class: "stack" });
  const context = { page, signal, model: search.get("model") || "auto" };
  const dropped = takeFile();
  const given = search.get("file");
  if (given) use(context, await get(`/v1/files/${encodeURIComponent(given)}`, { signal }));
  else {
    restart(context);
    if (dropped) send(page, signal, (...file) => use(context, ...file), dropped);
  }
  return [header("New training", "Train a model on a file of texts or numbers, and publish it as a named version."), page];
}

const restart = (context) => replace(context.page, fileCard(context.page, context.signal, (...file) => use(context, ...file)));

// Shows all steps for a file. Each file begins with default choices; only the architecture is kept.
function use(context, file, shown = loading("Reading the first rows…")) {
  const leaving = new AbortController();
  const signal = AbortSignal.any([context.signal, leaving.signal]);
  const state = { file, model: context.model, name: nameOf(file.filename) || "model", task: "", alias: "", columns: { ...file.column_roles }, request: {}, training: {}, signal, turn: 0 };
  const report = h("div", { class: "slot" });
  const rows = h("div", { class: "slot" }, shown);
  const again = () => { leaving.abort(); restart(context); };
  const form = { columns: columnCard(state), options: optionFields(state) };
  const check = () => dryRun(state, form, report);
  replace(context.page,
    card("1. The file", h("div", { class: "row" }, h("strong", {}, file.filename),
      h("span", { class: "muted small" }, [file.format, bytes(file.bytes), file.rows !== null && `${number(file.rows)} rows`].filter(Boolean).join(" · ")),
      button("Another file", again, "small")), rows),
    h("div", { class: "stack", onchange: () => compare(state, report) }, form.columns.element, modelCard(context, state, form.options.element)),
    h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "4. Check and start"), h("div", { class: "actions" },
      button("Check data and estimate time", check), action("Start training", () => start(state), "primary"))),
      h("p", { class: "small muted" }, "The check reads all data and times a few steps on this machine. It does not queue a job."), report),
    lines(state));
  showFirstRows(rows, file, signal, form.columns.know);
  check();
}

// The second step. The names of the columns are known from the upload, or from the preview of the file.
function columnCard(state) {
  const box = h("div", { class: "fields" });
  const control = select(TASKS, "", (value) => (state.task = value));
  const task = field("Task", control);
  let fields;
  let roles = {};  // as the check has detected them, which may be before the names are known
  const draw = (names) => {
    fields = columnFields(state.columns, names);
    fields.detected(roles);
    replace(box, task, fields.element);
  };
  const know = ({ columns, format }) => {
    if (columns && !state.file.columns) draw(columns);
    if (format === "text") replace(box, task, h("p", { class: "muted small" }, "Plain text has no columns. A model learns to continue it."));
  };
  const detected = ({ task: name, data }) => {
    control.options[0].textContent = `${TASKS[0][1]}: ${name}`;
    fields.detected((roles = data.columns));
  };
  draw(state.file.columns);
  return { element: card("2. Columns and task", box), know, detected };
}

function modelCard(context, state, options) {
  const models = select(ARCHITECTURES, state.model, (value) => (context.model = state.model = value));
  const bases = h("div", { class: "slot" });
  get("/v1/registry/models?limit=100", { signal: state.signal }).then(({ data, has_more }) => {
    if (data.length) models.append(h("optgroup", { label: "Fine-tune a model" }, data.map((m) => h("option", { value: m.name }, m.name))));
    choose(models, state.model);
    if (has_more) replace(bases, finder("Find another model", suggestModels, (name) => { choose(models, name); return ""; }, state.signal));
  }).catch(() => {});
  const name = h("input", { value: state.name, maxlength: 64, oninput: () => (state.name = name.value) });
  const alias = h("input", { placeholder: "none", oninput: () => (state.alias = alias.value.trim()) });
  return card("3. The model", h("div", { class: "fields" },
    field("Architecture", models, "auto trains a linear model and several networks, and keeps the one with the best validation result."), bases,
    field("Name", name, "The new version is added to the model with this name."), field("Alias to move", alias, "For example, champion: moved to the new version when training ends. Leave it empty to decide later.")),
    h("details", { class: "more" }, h("summary", {}, "All options (chosen automatically unless set)"), options));
}

// Shows whether the choices have changed since the check.
function compare(state, report) {
  report.querySelector(".outdated")?.remove();
  if (state.checked !== choices(state))
    report.prepend(h("p", { class: "notice warn outdated", role: "status" }, "The choices have changed since this check. Select “Check data and estimate time” to repeat it."));
}

async function dryRun(state, form, report) {
  const turn = (state.turn += 1);
  state.checked = choices(state);
  const waiting = loading("Reading the data and timing a few steps. This takes ten seconds to a minute…");
  replace(report, waiting, progress(null, "Checking"));
  try {
    const estimate = await post("/v1/fine_tuning/jobs?dry_run=true", request(state), { signal: state.signal });
    if (turn !== state.turn) return;
    form.columns.detected(estimate);
    form.options.chosen(estimate.plans.length === 1 ? estimate.plans[0].choices : []);
    replace(report, h("div", { class: "stack" }, dataPart(estimate), planPart(estimate)));
    compare(state, report);
  } catch (error) {
    if (error.name === "AbortError" || turn !== state.turn) return;
    if (error.code === "dry_run_busy") setTimeout(() => turn === state.turn && !state.signal.aborted && dryRun(state, form, report), 1000 * (error.retryAfter || 3));
    else replace(report, failure(error, () => dryRun(state, form, report)));
  }
}

async function start(state) {
  const job = await post("/v1/fine_tuning/jobs", request(state));
  toast(`${state.name || job.id} is queued`);
  location.hash = `#/jobs/${job.id}`;
}

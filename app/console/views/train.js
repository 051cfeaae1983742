// The page for a new training job: choose a file, check the data, choose the model and its options, and start.

import { all, get, post, upload } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, number } from "../format.js";
import { action, button, card, failure, field, header, loading, progress, select, table, toast } from "../parts.js";
import { dataPart, planPart } from "../datareport.js";
import { ARCHITECTURES, OPTIONS, ROLES, TASKS, read } from "../options.js";
import { preview } from "../preview.js";
import { args, columnFlags, curl, flags, openai, shell, snippets } from "../snippets.js";
import { takeFile } from "../handover.js";
import { choose as pick, finder, suggestModels } from "../versions.js";

const nameOf = (filename) => filename.replace(/\..*$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 40);

export async function view({ signal, search }) {
  const page = h("div", { class: "stack" });
  const state = { file: null, columns: {}, training: {}, signal, version: 0 };
  const dropped = takeFile();
  const given = search.get("file");
  if (given) choose(state, page, await get(`/v1/files/${given}`, { signal }));
  else {
    replace(page, fileCard(state, page));
    if (dropped) send(state, page, dropped);
  }
  if (search.get("model")) state.model = search.get("model");
  return [header("New training", "Train a model on a file of texts or numbers, and publish it as a named version."), page];
}

function fileCard(state, page) {
  const older = h("div", { class: "slot" });
  all("/v1/files", { purpose: "fine-tune" }, 50, { signal: state.signal }).then((files) => {
    if (!files.length) return;
    const choices = select([["", "Choose…"], ...files.map((f) => [f.id, `${f.filename} – ${f.rows ? number(f.rows) + " rows" : bytes(f.bytes)}`])], "",
      (id) => id && choose(state, page, files.find((f) => f.id === id)));
    replace(older, field("Or choose an uploaded file", choices));
  }).catch(() => {});
  return card("1. The file", dropZone((file) => send(state, page, file)), older);
}

export function dropZone(onfile, message = "Drop a CSV, TSV, JSONL, parquet, Excel or text file here") {
  const input = h("input", { type: "file", "aria-label": "Choose a data file", accept: ".csv,.tsv,.jsonl,.ndjson,.json,.parquet,.xlsx,.txt,.gz",
    onchange: () => input.files[0] && onfile(input.files[0]) });
  input.classList.add("hidden-visually");
  const zone = h("div", { class: "drop" }, h("strong", {}, message), h("span", { class: "muted small" }, "or"), h("label", { class: "button primary" }, "Choose a file", input));
  const over = (event) => { event.preventDefault(); zone.classList.toggle("over", event.type === "dragover"); };
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", over);
  zone.addEventListener("drop", (event) => { over(event); if (event.dataTransfer.files[0]) onfile(event.dataTransfer.files[0]); });
  return zone;
}

async function send(state, page, file) {
  const bar = progress(0, "Upload");
  const note = h("p", { class: "muted small", role: "status" }, `Uploading ${file.name}, ${bytes(file.size)}…`);
  state.preview = await preview(file).catch(() => null);
  replace(page, card("1. The file", h("strong", {}, file.name), bar, note, previewTable(state.preview)));
  try {
    choose(state, page, await upload(file, {}, (share) => (bar.value = share), state.signal));
  } catch (error) {
    replace(page, failure(error), fileCard(state, page));
  }
}

function previewTable(shown) {
  if (!shown) return h("p", { class: "small muted" }, "The service supports this format, but the page cannot preview it.");
  if (shown.lines) return h("pre", { class: "output small", tabindex: "0" }, shown.lines.join("\n"));
  const columns = shown.columns.map((name, i) => ({ name, kind: "long", cell: (row) => shorten(row[i] ?? "") }));
  return table(columns, shown.rows, { caption: "First rows" });
}
const shorten = (text) => (text.length > 160 ? text.slice(0, 160) + "…" : text);

function choose(state, page, file) {
  state.file = file;
  state.columns = { ...file.column_roles };
  state.model ||= "auto";
  state.name = nameOf(file.filename) || "model";
  const report = h("section", { class: "card" });
  const check = () => dryRun(state, report);
  replace(page,
    card("1. The file", h("div", { class: "row" }, h("strong", {}, file.filename),
      h("span", { class: "muted small" }, [file.format, bytes(file.bytes), file.rows !== null && `${number(file.rows)} rows`].filter(Boolean).join(" · ")),
      button("Another file", () => replace(page, fileCard(state, page)), "small")), state.preview !== undefined ? previewTable(state.preview) : null),
    h("div", { class: "stack", onchange: () => compare(state, report) }, dataCard(state), modelCard(state)),
    h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "4. Check and start"), h("div", { class: "actions" },
      button("Check data and estimate time", check), action("Start training", () => start(state), "primary"))),
      h("p", { class: "small muted" }, "The check reads all data and times a few steps on this machine. It does not queue a job."), report),
    lines(state));
  report.classList.remove("card");
  check();
}

function dataCard(state) {
  const names = state.file.columns || state.preview?.columns || [];
  const roleField = ([role, title]) => {
    const options = [["", "Detect"], ...names.map((n) => [n, n])];
    const control = names.length ? select(options, state.columns[role], (value) => assign(state.columns, role, value))
      : h("input", { placeholder: "Detect", value: state.columns[role] || "", oninput: (e) => assign(state.columns, role, e.target.value) });
    return field(title, control);
  };
  const task = select(TASKS, "", (value) => (state.task = value));
  return card("2. Columns and task", h("div", { class: "fields" }, field("Task", task), ROLES.slice(0, 2).map(roleField)),
    h("details", { class: "more" }, h("summary", {}, "Other columns: pairs, numbers, splits"), h("div", { class: "fields" }, ROLES.slice(2).map(roleField))));
}

function assign(target, name, value) {
  if (value === "" || value === undefined) delete target[name];
  else target[name] = value;
}

function modelCard(state) {
  const models = select(ARCHITECTURES, state.model, (value) => (state.model = value));
  const bases = h("div", { class: "slot" });
  get("/v1/registry/models?limit=100", { signal: state.signal }).then(({ data, has_more }) => {
    if (data.length) models.append(h("optgroup", { label: "Fine-tune a model" }, data.map((m) => h("option", { value: m.name }, m.name))));
    pick(models, state.model);
    if (has_more) replace(bases, finder("Find another model", suggestModels, (name) => { pick(models, name); return ""; }, state.signal));
  }).catch(() => {});
  const name = h("input", { value: state.name, maxlength: 64, oninput: () => (state.name = name.value) });
  const alias = h("input", { placeholder: "none", oninput: () => (state.alias = alias.value.trim()) });
  const groups = OPTIONS.map(([title, options]) => h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" },
    options.map(([key, label, kind, help]) => field(label, optionControl(state, key, kind), help)))));
  return card("3. The model", h("div", { class: "fields" },
    field("Architecture", models, "auto trains a linear model and several networks, and keeps the one with the best validation result."), bases,
    field("Name", name, "The new version is added to the model with this name."), field("Alias to move", alias, "For example, champion: moved to the new version when training ends. Leave it empty to decide later.")),
    h("details", { class: "more" }, h("summary", {}, "Options (chosen automatically unless set)"), groups));
}

function optionControl(state, key, kind) {
  if (Array.isArray(kind)) return select(kind.map((v) => [v, v || "auto"]), "", (value) => assign(state.training, key, read(key, "", value)));
  const input = h("input", { placeholder: "auto", inputmode: kind === "text" ? null : "decimal", type: kind === "text" ? "text" : "number",
    step: kind === "whole" ? 1 : "any", oninput: () => assign(state.training, key, read(key, kind, input.value)) });
  return input;
}

function request(state) {
  return {
    model: state.model, training_file: state.file.id, suffix: state.name || undefined, task: state.task || undefined,
    columns: Object.keys(state.columns).length ? state.columns : undefined,
    publish: state.alias ? { alias: state.alias } : undefined,
    training: Object.keys(state.training).length ? state.training : undefined,
  };
}

// The choices that a check depends on.
const choices = (state) => JSON.stringify({ ...request(state), suffix: null, publish: null });

// Says whether the check was made with other choices than the present ones.
function compare(state, report) {
  report.querySelector(".outdated")?.remove();
  if (state.checked !== choices(state))
    report.prepend(h("p", { class: "notice warn outdated", role: "status" }, "The choices have changed since this check. Select “Check data and estimate time” to repeat it."));
}

async function dryRun(state, report) {
  const turn = (state.version += 1);
  state.checked = choices(state);
  const waiting = loading("Reading the data and timing a few steps. This takes ten seconds to a minute…");
  replace(report, waiting, progress(null, "Checking"));
  try {
    const estimate = await post("/v1/fine_tuning/jobs?dry_run=true", request(state), { signal: state.signal });
    if (turn !== state.version) return;
    replace(report, h("div", { class: "stack" }, dataPart(estimate), planPart(estimate)));
    compare(state, report);
  } catch (error) {
    if (error.name === "AbortError" || turn !== state.version) return;
    if (error.code === "dry_run_busy") setTimeout(() => turn === state.version && dryRun(state, report), 1000 * (error.retryAfter || 3));
    else replace(report, failure(error, () => dryRun(state, report)));
  }
}

async function start(state) {
  const job = await post("/v1/fine_tuning/jobs", request(state));
  toast(`${state.name || job.id} is queued`);
  location.hash = `#/jobs/${job.id}`;
}

function lines(state) {
  return snippets({
    curl: () => curl("POST", "/v1/fine_tuning/jobs", request(state)),
    openai: () => {
      const { model, training_file, suffix, ...extra } = request(state);
      return openai(`job = client.fine_tuning.jobs.create${args({ model, training_file, suffix }, extra)}\nprint(job.id)`);
    },
    cli: () => {
      const { model, training_file, suffix: name, task, columns, publish, training } = request(state);
      return shell("ostinato", "train", training_file, ...flags({ model, name, alias: publish?.alias, task, ...columnFlags(columns), ...training }));
    },
  });
}

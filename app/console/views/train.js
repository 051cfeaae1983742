// The page for a new training job: choose a file, check the data, choose the model and its options, and start.

import { get, post } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, counted } from "../format.js";
import { action, button, card, code, field, header, link, loading, select, toast } from "../parts.js";
import { ARCHITECTURES, TASKS, roleTitle } from "../options.js";
import { takeFile } from "../handover.js";
import { check, compare } from "../training/check.js";
import { columnFields, fitting } from "../training/columns.js";
import { earlier } from "../training/earlier.js";
import { fileCard, send, showFirstRows } from "../training/file.js";
import { optionFields } from "../training/options.js";
import { choices, lines, repeats, request } from "../training/request.js";
import { choose, finder, suggestModels } from "../versions.js";

const PAUSE = 700;  // milliseconds from the last change of a choice to the next check

export { dropZone } from "../training/file.js";

const nameOf = (filename) => filename.replace(/\..*$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 40);

export async function view({ signal, search }) {
  const page = h("div", { class: "stack" });
  const given = await earlier(search, signal);
  const context = { page, signal, given, model: search.get("model") || given.model || "auto" };
  const dropped = takeFile();
  const id = search.get("file") || given.file;
  const file = id ? await get(`/v1/files/${encodeURIComponent(id)}`, { signal }).catch((error) => unless(error, 404, given.job)) : null;
  if (file) use(context, file);
  else {
    restart(context);
    if (dropped) send(page, signal, (...sent) => use(context, ...sent), dropped);
  }
  return [given.name ? header(`New version of ${given.name}`, "Train the model again, on the same file or on another one. The result is the model's next version.")
    : header("New training", "Train a model on a file of texts or numbers, and publish it as a named version."),
  given.job ? h("p", { class: "notice" }, h("span", {}, "The name, the architecture and the options are those of ", link("the earlier training", `#/jobs/${given.job}`), ". ",
    file ? "With the same file and seed, the same rows are held out, so the metrics of both versions can be compared." : "Its file has been deleted: choose another one.")) : null, page];
}

// Returns null for an error with this status if `expected`, otherwise raises the error.
function unless(error, status, expected) {
  if (error.status === status && expected) return null;
  throw error;
}

const restart = (context) => replace(context.page, fileCard(context.page, context.signal, (...file) => use(context, ...file)));

// Shows all steps for a file. Each file begins with the choices of the earlier training, if the page has one, otherwise
// with the default choices; only the architecture is kept.
function use(context, file, shown = loading("Reading the first rows…")) {
  const leaving = new AbortController();
  const signal = AbortSignal.any([context.signal, leaving.signal]);
  const { name = "", task = "", alias = "", columns = {}, request: own, training } = context.given;
  const state = { file, model: context.model, name: name || nameOf(file.filename) || "model", task, alias, columns: { ...file.column_roles, ...fitting(columns, file) }, request: { ...own }, training: { ...training }, signal };
  const report = h("div", { class: "slot" });
  const rows = h("div", { class: "slot" }, shown);
  const again = () => { leaving.abort(); restart(context); };
  const run = button("Check data and estimate time", () => check(state, form, report));
  const begin = action("Start training", () => start(state), "primary");
  const obstacle = h("p", { class: "small muted", role: "status" });
  // Disables the start of a training that would fail, because the check of the same choices was refused.
  const block = (on) => {
    begin.disabled = on;
    replace(obstacle, on ? "Training cannot start, because it would fail with the problem below. Change the choices, or use another file." : null);
  };
  const form = { columns: columnCard(state), options: optionFields(state), busy: (on) => (run.disabled = on), block };
  // The first check begins after the preview, which may choose the columns.
  const recheck = debounce(() => !signal.aborted && state.checked && state.checked !== choices(state) && check(state, form, report), PAUSE);
  const repetition = h("div", { class: "slot" });
  const warn = () => replace(repetition, repeats(state, context.given) ? repeated(context.given.job, form.options.reset) : null);
  warn();
  replace(context.page,
    card("1. The file", h("div", { class: "row" }, h("strong", {}, file.filename),
      h("span", { class: "muted small" }, [file.format, bytes(file.bytes), file.rows !== null && counted(file.rows, "row")].filter(Boolean).join(" · ")),
      button("Another file", again, "small")), rows),
    h("div", { class: "stack", onchange: () => { warn(); compare(state, report); if (state.checked !== choices(state)) block(false); recheck(); } }, form.columns.element, modelCard(context, state, form.options.element)),
    h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "4. Check and start"), h("div", { class: "actions" },
      run, begin)), obstacle,
      h("p", { class: "small muted" }, "The check reads all data and times a few steps on this machine. It does not queue a job, and is repeated when a choice changes."), repetition, report),
    lines(state));
  showFirstRows(rows, file, signal, form.columns.know).then(() => signal.aborted || check(state, form, report));
}

// Says that the result is known already, and offers to train with a new seed.
const repeated = (job, reset) => h("div", { class: "notice warn", role: "status" }, h("strong", {}, "This repeats ", link("the earlier training", `#/jobs/${job}`)),
  h("p", {}, "The file, the options and the seed are the same, so the weights will be identical. For a different result, change one of them."),
  button("Use a new seed", () => reset("seed"), "small"));

// The second step. The names of the columns are known from the upload, or from the preview of the file.
function columnCard(state) {
  const box = h("div", { class: "fields few" });
  const control = select(TASKS, state.task, (value) => (state.task = value));
  const task = field("Task", control);
  let fields;
  let refusal = "";  // the role that the check has refused
  let roles = {};  // the roles that the check has detected, possibly before the names are known
  const draw = (names) => {
    fields = columnFields(state.columns, names);
    fields.detected(roles);
    fields.refused(refusal);
    replace(box, task, fields.element);
  };
  const know = ({ columns, format, detected: found }) => {
    const guessed = found?.guessed && !state.task && !Object.keys(state.columns).length;
    if (guessed) Object.assign(state.columns, Object.fromEntries(Object.entries(found.columns).map(([role, names]) => [role, [].concat(names).join(",")])));
    if (columns && (guessed || !state.file.columns)) draw(columns);
    if (guessed) box.prepend(guess(found.columns));
    if (found) detected({ task: found.task, data: { columns: guessed ? {} : found.columns } });
    if (format === "text") replace(box, task, h("p", { class: "muted small" }, "Plain text has no columns. A model learns to continue it."));
  };
  const refused = (role) => fields.refused((refusal = role));
  const detected = ({ task: name, data }) => {
    refused("");
    control.options[0].textContent = `${TASKS[0][1]}: ${name}`;
    fields.detected((roles = data.columns));
  };
  draw(state.file.columns);
  return { element: card("2. Columns and task", box), know, detected, refused };
}

// The columns that were chosen by their contents, because the file has no columns with the usual names.
const guess = (columns) => h("p", { class: "notice wide", role: "status" }, h("span", {}, "These columns were chosen by their contents: ",
  Object.entries(columns).map(([role, names], i) => [i ? ", " : null, `${roleTitle(role)}: `, [].concat(names).map((name, k) => [k ? " and " : null, code(name)])]), ". Change them if they are wrong."));

// What the chosen architecture means.
function explanation(model) {
  if (model === "auto") return "auto trains a linear model and several networks, and keeps the one with the best validation result.";
  return ARCHITECTURES.some(([name]) => name === model) ? "Only a model of this architecture is trained. auto compares several." : "Training continues from the weights of this model.";
}

function modelCard(context, state, options) {
  const models = select(ARCHITECTURES, state.model, (value) => { context.model = state.model = value; explain(); });
  const architectures = field("Architecture", models, explanation(state.model));
  const explain = () => replace(architectures.querySelector(".small"), explanation(state.model));
  const bases = h("div", { class: "slot" });
  get("/v1/registry/models?limit=100", { signal: state.signal }).then(({ data, has_more }) => {
    if (data.length) models.append(h("optgroup", { label: "Fine-tune a model" }, data.map((m) => h("option", { value: m.name }, m.name))));
    choose(models, state.model);
    if (has_more) replace(bases, finder("Find another model", suggestModels, (name) => { choose(models, name); return ""; }, state.signal));
  }).catch(() => {});
  const name = h("input", { value: state.name, maxlength: 64, oninput: () => (state.name = name.value) });
  const alias = h("input", { value: state.alias, placeholder: "none", oninput: () => (state.alias = alias.value.trim()) });
  return card("3. The model", h("div", { class: "fields few" },
    architectures, bases,
    field("Name", name, "The new version is added to the model with this name."), field("Alias to move", alias, "The alias, such as champion, is moved to the new version when training ends. Leave this field empty to decide later.")),
    h("details", { class: "more", open: Object.keys({ ...state.request, ...state.training }).some((key) => key !== "seed") }, h("summary", {}, "All options (chosen automatically unless set)"), options));
}

async function start(state) {
  const job = await post("/v1/fine_tuning/jobs", request(state));
  toast(`${state.name || job.id} is queued`);
  location.hash = `#/jobs/${job.id}`;
}

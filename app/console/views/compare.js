// Compares versions: their metrics side by side, a paired test on the same rows, and the promotion of one version.

import { get, query } from "../api.js";
import { h, replace } from "../dom.js";
import { comparedVersions } from "../comparison.js";
import { architecture, compact, figure, phrase, title } from "../format.js";
import { action, badge, card, empty, field, header, later, link, select, status, table } from "../parts.js";
import { tooFew } from "../quality.js";
import { commented, curl, python, requests, shell, snippets } from "../snippets.js";
import { EFFECTS, evaluate, heldOut, progressBox, rowsField, usage } from "../version/evaluate.js";
import { rowsOf, trainedOn, warnings } from "../version/rows.js";
import { finder, newest, suggestVersions } from "../versions.js";
import { move } from "./model.js";

const HIDDEN = /(^baseline|rows|\.of$|per_class|support)/;

export async function view({ search, signal, show: again }) {
  const picked = (search.get("versions") || "").split(",").filter(Boolean);
  const { versions: ready, more } = await newest(signal);
  const go = (list) => { location.hash = `#/compare${query({ versions: list.join(",") })}`; };
  const others = ready.filter((v) => !picked.includes(v.id));
  const adder = select([["", "Add a version…"], ...others.map((v) => [v.id, `${v.id} – ${architecture(v.architecture)}, ${v.task}`])], "", (id) => id && go([...picked, id]));
  const other = more ? finder("Find another version", suggestVersions, (id, version) => { go([...new Set([...picked, id.includes(":") ? id : version.id])]); return ""; }, signal) : null;
  const chips = picked.map((id) => h("span", { class: "tag chip" }, id, h("button", { type: "button", class: "plain", "aria-label": `Remove ${id}`, onclick: () => go(picked.filter((other) => other !== id)) }, "×")));
  return [
    header("Compare", "Compare metrics, test versions on the same rows, and promote one."),
    card("Versions", chips.length ? h("div", { class: "row" }, chips) : null, h("div", { class: "row" }, h("div", { class: "field" }, field(picked.length ? "Add a version" : "First version", adder), other))),
    picked.length < 2 ? empty("Choose at least two versions.") : later(get(`/v1/registry/compare${query({ versions: picked.join(",") })}`, { signal }), (comparison) => parts(comparison, signal, again)),
    snippets(lines(picked)),
  ];
}

// The code for the chosen versions: metrics, a paired test, and the promotion of the first. With fewer than two, lists all versions.
function lines(picked) {
  if (picked.length < 2) return { curl: () => curl("GET", "/v1/registry/versions"), python: () => python("GET", "/v1/registry/versions"), cli: () => shell("ostinato", "models", "search") };
  const [first, second] = picked;
  const [, name, version] = first.match(/^(.*):(\d+)$/) || [];
  const path = `/v1/registry/compare${query({ versions: picked.join(",") })}`;
  const test = { model: first, file: "FILE_ID", against: second };
  const alias = [`/v1/registry/models/${encodeURIComponent(name)}/aliases/champion`, { version: Number(version) }];
  const [metrics, paired_, promote] = ["The metrics", "A paired test on the rows of a file", `Promote ${first}`];
  return {
    curl: () => commented([metrics, curl("GET", path)], [paired_, curl("POST", "/v1/evaluations", test)], version && [promote, curl("PUT", ...alias)]),
    python: () => requests(["GET", path, null, metrics], ["POST", "/v1/evaluations", test, paired_], version && ["PUT", ...alias, promote]),
    cli: () => commented([metrics, shell("ostinato", "models", "compare", ...picked)], [paired_, shell("ostinato", "evaluate", first, "data.csv", "--against", second)], version && [promote, shell("ostinato", "models", "alias", name, "champion", version)]),
  };
}

function parts(comparison, signal, again) {
  const { versions } = comparison;
  const [first] = versions;
  const made = get(`/v1/registry/models/${encodeURIComponent(first.model)}/versions/${first.version}/evaluations`, { signal }).then(({ data }) => data, () => []);
  const tests = new Set();  // the versions that were tested against the first one, on rows that neither was trained on
  const metrics = h("div", { class: "slot" });
  const draw = () => replace(metrics, figures(comparison, tests));
  const tell = (evaluation) => { tests[trainedOn(evaluation).length ? "delete" : "add"](evaluation.against_version); draw(); };
  draw();
  return [card("Metrics", metrics), card("On the same rows", paired(versions, made, tell, signal)), card("Promote", promotion(versions, again))];
}

// Marks the better value of a metric, without the claim that the version is better: that would need a test. `tests` contains the
// ids of the versions that were tested against the first one, on rows that neither was trained on.
function figures({ versions, figures: values, best, different_rows }, tests) {
  let [marks, untested] = [0, 0];
  const plain = [
    ["Architecture", (v) => architecture(v.architecture)], ["Parameters", (v) => compact(v.parameters)], ["Aliases", (v) => v.aliases.join(", ") || "–"], ["Status", (v) => status(v.status)],
  ].map(([name, cell]) => ({ name, cells: versions.map(cell) }));
  const measured = Object.entries(values).filter(([path]) => !HIDDEN.test(path)).map(([path, row]) => {
    const [split, name] = path.split(".");
    const few = row.map((value, i) => tooFew(values[`${split}.rows`]?.[i], name));
    const marked = few.includes(true) || different_rows.includes(split) ? null : best[path];
    const tested = versions.every((v, i) => !i || row[i] === null || tests.has(v.id));
    const mark = (value) => badge(`${value === Math.max(...row.filter((other) => other !== null)) ? "highest" : "lowest"}${tested ? "" : ", not tested"}`);
    const cell = (value, i) => (marked === i && row.some((other) => other !== value) ? h("strong", {}, figure(path, value), " ", (marks += 1, untested += !tested, mark(value))) : figure(path, value));
    return { name: title(path.split(".").map(phrase).join(" · ")), cells: row.map((value, i) => (value === null ? "–" : few[i] ? "too few rows" : cell(value, i))) };
  });
  const columns = [{ name: "", kind: "long", cell: (row) => row.name }, ...versions.map((v, i) => ({ name: v.id, cell: (row) => row.cells[i] }))];
  return [table(columns, [...plain, ...measured], { caption: "Metrics of each version" }),
    marks ? h("p", { class: "small muted" }, `The better value of each metric is marked. ${untested ? "The difference may be due to chance. A paired test below shows whether it is." : "The paired tests below state whether the versions differ more than by chance."}`) : null,
    different_rows.length ? h("p", { class: "notice warn" }, `The ${different_rows.join(" and ")} metrics were measured on different rows, so they cannot be compared. Test the versions on the same rows below.`) : null];
}

// The content of a version's training.json, or null.
async function trainingOf({ model, version, files }, signal) {
  if (!("training.json" in files)) return null;
  return get(`/v1/registry/models/${encodeURIComponent(model)}/versions/${version}/files/training.json`, { signal }).catch(() => null);
}

// Whether two versions have the same held-out rows. The hashes of the rows decide; versions of earlier releases have none.
function sameRows([a, b], [own, other]) {
  const split = ["test", "validation"].find((name) => a.metrics?.[name]?.rows_sha256 && b.metrics?.[name]?.rows_sha256);
  if (split) return a.metrics[split].rows_sha256 === b.metrics[split].rows_sha256;
  const source = (training) => JSON.stringify([training?.data?.training_file, training?.data?.validation_file, training?.spec?.validation_split]);
  return Boolean(own?.data?.training_file) && source(own) === source(other);
}

// The choices of rows for the tests: the held-out rows, if all versions have the same ones, and files. Files that a version was
// trained on are marked.
async function testRows(versions, signal) {
  const trainings = await Promise.all(versions.map((v) => trainingOf(v, signal)));
  const jobs = await Promise.all(versions.map((v) => (v.job_id ? get(`/v1/fine_tuning/jobs/${v.job_id}`, { signal }).catch(() => null) : null)));  // the key may lack the required scope
  const uses = trainings.map((training, i) => usage(jobs[i], training));
  const about = (file) => versions.map((v, i) => uses[i](file) && `${uses[i](file)} of ${v.id}`).filter(Boolean).join(", ");
  const shared = versions.every((v, i) => sameRows([versions[0], v], [trainings[0], trainings[i]]));
  const held = shared ? await heldOut(jobs[0], trainings[0], signal) : null;
  return { held, about, effect: (file) => versions.map((v, i) => EFFECTS[uses[i](file)]).find(Boolean), roles: trainings[0]?.spec?.columns || {}, unseen: "the versions were" };
}

// Tests all versions against the first one, each on the rows of the same file. `made` are the earlier evaluations of the first
// version, and `tell` is called with each test.
function paired(versions, made, tell, signal) {
  const [first, ...others] = versions;
  const fitting = others.filter((v) => v.task === first.task);
  const boxes = new Map(fitting.map((v) => [v.id, progressBox("Not tested yet.")]));
  const shown = (evaluation) => {
    replace(boxes.get(evaluation.against_version), h("p", {}, comparedVersions(evaluation), ` On ${rowsOf(evaluation)}. `, link("Details", `#/evaluations/${evaluation.id}`)), warnings(evaluation));
    tell(evaluation);
  };
  const flawed = (evaluation) => Number(trainedOn(evaluation).length > 0);
  // Shows the newest test of each version, but prefers tests on rows that neither version was trained on.
  made.then((list) => { for (const evaluation of [...list].reverse().sort((a, b) => flawed(b) - flawed(a))) if (boxes.has(evaluation.against_version)) shown(evaluation); });
  const start = (body) => Promise.all(fitting.map((v, i) => evaluate({ model: first.id, ...body, against: v.id }, boxes.get(v.id), signal, shown, i === 0)));
  const chooser = later(testRows([first, ...fitting], signal).then((choices) => rowsField(first, choices, signal, "Test on the same rows", start)), (element) => element);
  const rows = table([
    { name: "Version", kind: "long", cell: (v) => v.id },
    { name: `Compared with ${first.id}`, kind: "long", cell: (v) => boxes.get(v.id) || `The task is ${v.task}, so this version cannot be tested on the same rows.` },
  ], others, { caption: "Paired tests" });
  return [h("p", { class: "small muted" }, `Compares each version with ${first.id} on the same rows with a paired test (McNemar's, or a t-test for numbers).${fitting.length > 2 ? " If there are many tests, some will find a difference by chance." : ""}`),
    rows, fitting.length ? chooser : null];
}

function promotion(versions, again) {
  const box = h("div", { class: "slot" });
  const alias = h("input", { value: "champion" });
  const target = select([["", "Choose a version…"], ...versions.map((v) => [v.id, v.id])], "");
  const promote = async () => {
    const version = versions.find((v) => v.id === target.value);
    if (!version) throw new Error("Choose a version first.");
    const base = `/v1/registry/models/${encodeURIComponent(version.model)}`;
    const model = await get(base);
    const name = alias.value.trim();
    const current = model.aliases[name];
    const question = current ? `${version.model}@${name} points to version ${current}. Point it to version ${version.version} instead?` : `Create the alias ${version.model}@${name} for version ${version.version}?`;
    if (confirm(question)) await move(base, name, version.version, current ?? null, box, again);
  };
  return [box, h("div", { class: "row" }, field("Alias", alias), field("Version", target), action("Promote", promote, "primary")),
    h("p", { class: "small muted" }, "You can view the history of the alias, and roll it back, on the model's page: ", [...new Set(versions.map((v) => v.model))].map((name, i) => [i ? ", " : "", link(name, `#/models/${encodeURIComponent(name)}`)]))];
}


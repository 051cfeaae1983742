// The data report: rows, labels, lengths, remarks, and the plan with its estimated time.

import { h } from "./dom.js";
import { architecture, bytes, compact, counted, duration, number, title } from "./format.js";
import { ROLES, optionTitle, roleTitle } from "./options.js";
import { badge, bars, code, facts, stat, table } from "./parts.js";
import { shown } from "./training/options.js";

const LABELS = 12;
const SPLITS = ["train", "validation", "test"];
export const inOrder = (splits) => Object.entries(splits).sort(([a], [b]) => SPLITS.indexOf(a) - SPLITS.indexOf(b));

export function labelBars(labels, name = "Rows of each label") {
  const totals = {};
  for (const counts of Object.values(labels || {}))
    for (const [label, count] of Object.entries(counts)) totals[label] = (totals[label] || 0) + count;
  const ranked = Object.entries(totals).sort((a, b) => b[1] - a[1]);
  if (!ranked.length) return null;
  const rest = ranked.slice(LABELS).reduce((sum, [, count]) => sum + count, 0);
  const items = ranked.slice(0, LABELS).map(([label, count]) => ({ name: label, value: count }));
  if (rest) items.push({ name: `${ranked.length - LABELS} more`, value: rest });
  return h("div", { class: "stack" }, h("h3", {}, name), bars(items, { label: name }));
}

export function lengthBars(histogram, name = "Lengths") {
  const counts = histogram?.counts?.train;
  if (!counts?.length) return null;
  const most = Math.max(...counts, 1);
  const edges = histogram.edges;
  return h("div", { class: "stack" }, h("h3", {}, `${name} in ${histogram.unit}`),
    h("div", { class: "histogram", role: "img", "aria-label": `${name}: from ${edges[0]} to ${edges.at(-1)} ${histogram.unit}` },
      counts.map((count, i) => h("span", { title: `${edges[i]}–${edges[i + 1] ?? ""}: ${number(count)}`, style: { height: `${Math.max(count ? 3 : 0, (count / most) * 100)}%` } }))),
    h("div", { class: "row small muted", style: { "justify-content": "space-between" } }, h("span", {}, edges[0]), h("span", {}, number(edges.at(-1)))));
}

export const remarks = (notes) => (notes.length ? h("ul", { class: "remarks" }, notes.map((note) =>
  h("li", { class: note.level }, note.message))) : null);

export function dataPart({ data, notes, task, report }) {
  const splits = inOrder(Object.keys(data.rows).length ? data.rows : data.characters);
  const unit = Object.keys(data.rows).length ? "rows" : "characters";
  return [
    h("div", { class: "stats" }, stat("Task", title(task)), splits.map(([split, count]) => stat(title(split), compact(count), unit)),
      Object.keys(data.tokens).length ? stat("Tokens", compact(Object.values(data.tokens).reduce((a, b) => a + b, 0))) : null),
    h("div", { class: "columns" }, labelBars(data.labels), lengthBars(report?.length_histogram)),
    columnsOf(data),
    remarks(notes),
  ];
}

// The columns that have a role, and those that have none.
function columnsOf({ columns, ignored_columns: ignored }) {
  const list = (names) => [].concat(names).map((name, i) => [i ? ", " : null, code(name)]);
  const names = [...new Set([...ROLES.map(([role]) => role), ...Object.keys(columns)])].filter((role) => columns[role]);
  const roles = names.map((role) => [roleTitle(role), list(columns[role])]);
  return roles.length ? [h("h3", {}, "Columns"), facts([...roles, ["Not used", ignored.length ? list(ignored) : null]])] : null;
}

const planColumns = [
  { name: "Architecture", cell: (plan) => architecture(plan.architecture) },
  { name: "Shape", cell: (plan) => (plan.layers ? `${counted(plan.layers, "layer")} of ${plan.width}` : "n-grams") },
  { name: "Parameters", kind: "number", cell: (plan) => compact(plan.parameters) },
  { name: "Steps", kind: "number", cell: (plan) => number(plan.steps) },
  { name: "Memory", kind: "number", cell: (plan) => bytes(plan.memory.total) },
  { name: "Time", kind: "number", cell: (plan) => duration(plan.seconds.total) },
];

export function planPart(estimate) {
  const [plan] = estimate.plans;
  return [
    h("div", { class: "stats" }, stat("Time", `up to ${duration(estimate.seconds)}`, plan?.ends_earlier ? "usually ends earlier" : ""),
      stat("Memory", bytes(estimate.memory_bytes)), stat("Parameters", compact(estimate.parameters))),
    table(planColumns, estimate.plans, { caption: "Training runs" }),
    h("details", { class: "more" }, h("summary", {}, "The value of each option, and why"), optionTable(estimate.plans)),
  ];
}

// The options of the runs: one row for each option, and one column for each run.
function optionTable(plans) {
  const names = [...new Set(plans.flatMap((plan) => plan.choices.map(({ option }) => option)))];
  const rows = names.map((name) => ({ name, choices: plans.map((plan) => plan.choices.find(({ option }) => option === name)) }));
  const value = (choice) => (choice ? [h("strong", {}, shown(choice.value)), choice.requested ? [" ", badge("set by you")] : null] : "–");
  const reason = (choice) => choice && !choice.requested && h("div", { class: "small muted" }, choice.reason);
  const [plan] = plans;
  const columns = plans.length === 1
    ? [{ name: "Value", cell: ({ choices: [choice] }) => value(choice) }, { name: "Reason", kind: "long", cell: ({ choices: [choice] }) => reason(choice) }]
    : plans.map((each, i) => ({ name: architecture(each.architecture), kind: "long", cell: ({ choices }) => [h("div", {}, value(choices[i])), reason(choices[i])] }));
  return [table([{ name: "Option", cell: ({ name }) => optionTitle(name) }, ...columns], rows, { caption: "Options", tall: true }),
    plan?.ends_earlier ? h("p", { class: "small muted" }, `The run usually ends earlier: ${plan.ends_earlier}.`) : null];
}

// The versions that a pane of the playground can use, and the inputs that the reader has sent before.

import { architecture } from "../format.js";
import { h, replace } from "../dom.js";
import { field, select } from "../parts.js";
import { choose, finder, suggestVersions } from "../versions.js";

const MOST_OTHERS = 7;

// The references that a pane lists. `wanted` is the reference in the page's address, and `found` is its version.
function references({ versions, wanted, found }, tasks) {
  const fitting = versions.filter((v) => tasks.includes(v.task));
  const names = [...new Set(fitting.map((v) => v.model))];
  const list = names.flatMap((name) => {
    const own = fitting.filter((v) => v.model === name);
    const aliases = own.flatMap((v) => v.aliases.map((alias) => [`${name}@${alias}`, `${name}@${alias} – version ${v.version}`]));
    return [[name, name], ...aliases, ...own.map((v) => [v.id, `${v.id} – ${architecture(v.architecture)}`])];
  });
  if (found && tasks.includes(found.task) && !list.some(([reference]) => reference === wanted))
    list.unshift([wanted, wanted.startsWith("ftckpt-") ? `checkpoint ${wanted}` : wanted]);
  return list;
}

export const isUsable = (context, tasks) => context.versions.some((v) => tasks.includes(v.task)) || tasks.includes(context.found?.task);

export function versionOf({ versions, wanted, found }, reference) {
  if (!reference) return undefined;
  if (reference === wanted) return found;
  const [name, rest] = reference.split(/[:@]/);
  const own = versions.filter((v) => v.model === name);
  if (reference.includes(":")) return own.find((v) => v.version === Number(rest));
  return own.find((v) => v.aliases.includes(rest || "champion")) || own[0];
}

// Adds a version that is not in the lists. Returns the reason why the pane cannot use it, or an empty text.
function admit(context, tasks, { version, reference }) {
  if (!tasks.includes(version.task) || context.refuses?.(version)) return `${reference} (${version.task}) cannot be used here.`;
  if (!context.versions.some((v) => v.id === version.id)) context.versions.push(version);
  return "";
}

const search = (label, context, tasks, use) => (tasks.some((task) => context.more.has(task)) ? finder(label, suggestVersions, use, context.signal) : null);

// The field for a pane's model: a list, and a search field if the list is not complete.
export function modelField(context, tasks, onchange) {
  const list = references(context, tasks);
  const missing = context.wanted && !context.found;
  const wanted = list.some(([reference]) => reference === context.wanted) ? context.wanted : list[0]?.[0];
  const control = select(missing ? [["", "Choose a model…"], ...list] : list, missing ? "" : wanted, onchange);
  const element = field("Model", control);
  element.classList.add("wide");
  element.append(inFull(control));
  const other = search("Find another version", context, tasks, (reference, version) => {
    const problem = admit(context, tasks, { version, reference });
    if (!problem) choose(control, reference);
    return problem;
  });
  if (other) element.append(other);
  return { control, element };
}

const CUT = 26;  // characters of a choice that fit on a small screen

// The chosen text below a selection that may cut it off.
function inFull(control) {
  const text = h("span", { class: "small muted full-name" });
  const show = () => {
    const chosen = control.selectedOptions[0]?.textContent || "";
    replace(text, chosen.length > CUT ? chosen : null);
    control.title = chosen;
  };
  control.addEventListener("change", show);
  show();
  return text;
}

export function reference(control) {
  if (!control.value) throw new Error("Choose a model first.");
  return control.value;
}

// The field for the versions to compare with a pane's model.
export function othersField(context, tasks) {
  const chosen = [];
  const chips = h("div", { class: "row" });
  const draw = () => replace(chips, chosen.map((id) => h("span", { class: "tag chip" }, id,
    h("button", { type: "button", class: "plain", "aria-label": `Remove ${id}`, onclick: () => { chosen.splice(chosen.indexOf(id), 1); draw(); } }, "×"))));
  const add = (id) => {
    if (chosen.length >= MOST_OTHERS) return `At most ${MOST_OTHERS + 1} versions can be compared.`;
    if (!chosen.includes(id)) chosen.push(id);
    draw();
    return "";
  };
  const control = select([["", "Add a version…"], ...references(context, tasks)], "", (id) => {
    if (id) add(id);
    control.value = "";
  });
  const element = field("Compare with", control);
  element.classList.add("wide");
  const other = search("Find a version to compare", context, tasks, (reference_, version) => admit(context, tasks, { version, reference: reference_ }) || add(reference_));
  if (other) element.append(other);
  element.append(chips);
  return { chosen, element };
}

const KEPT = 20;
const STORED = "ostinato.history.";
export function forget() {
  for (const name of Object.keys(localStorage)) if (name.startsWith(STORED)) localStorage.removeItem(name);
}

export class History {
  constructor(kind) { this.name = STORED + kind; }
  get items() { try { return JSON.parse(localStorage.getItem(this.name)) || []; } catch { return []; } }
  push(item) {
    const others = this.items.filter((other) => JSON.stringify(other) !== JSON.stringify(item));
    try { localStorage.setItem(this.name, JSON.stringify([item, ...others].slice(0, KEPT))); } catch {}
  }
  clear() { localStorage.removeItem(this.name); }

  // A list of earlier inputs; `use` restores one of them.
  element(use, text) {
    const box = h("details", { class: "more" }, h("summary", {}, "Earlier inputs, stored in this browser"));
    box.addEventListener("toggle", () => {
      box.querySelector("ul")?.remove();
      if (box.open) box.append(h("ul", { class: "remarks" }, this.items.map((item) =>
        h("li", {}, h("button", { type: "button", class: "plain", onclick: () => use(item) }, text(item).slice(0, 140)))),
      h("li", {}, h("button", { type: "button", class: "plain danger", onclick: () => { this.clear(); box.open = false; } }, "Forget all"))));
    });
    return box;
  }
}

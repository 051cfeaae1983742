// The versions that a pane of the playground can use, and the earlier inputs.

import { h } from "../dom.js";
import { select } from "../parts.js";

export function references({ versions, wanted }, tasks) {
  const fitting = versions.filter((v) => tasks.includes(v.task));
  const names = [...new Set(fitting.map((v) => v.model))];
  const list = names.flatMap((name) => {
    const own = fitting.filter((v) => v.model === name);
    const aliases = own.flatMap((v) => v.aliases.map((alias) => [`${name}@${alias}`, `${name}@${alias} – version ${v.version}`]));
    return [[name, name], ...aliases, ...own.map((v) => [v.id, `${v.id} – ${v.architecture}`])];
  });
  if (wanted?.startsWith("ftckpt-")) list.unshift([wanted, `checkpoint ${wanted}`]);
  return list;
}

export function modelSelect(context, tasks, onchange) {
  const list = references(context, tasks);
  const wanted = list.some(([reference]) => reference === context.wanted) ? context.wanted : list[0]?.[0];
  return select(list, wanted, onchange);
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

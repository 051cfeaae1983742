// Small components shared by all views.

import { add, announce, h, replace, svg, unique } from "./dom.js";
import { ago, duration, moment, number } from "./format.js";

const ICONS = {
  home: "M3 11 12 4l9 7v9h-6v-6H9v6H3z",
  train: "M12 3v12m0-12 4 4m-4-4L8 7M4 17v4h16v-4",
  jobs: "M4 6h16M4 12h16M4 18h10",
  models: "M12 3l8 4.5v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9",
  play: "M7 4l12 8-12 8z",
  compare: "M8 4v16M16 4v16M3 8h5m8 8h5",
  traffic: "M3 17l5-6 4 4 5-8 4 5",
  files: "M6 3h8l4 4v14H6zM14 3v4h4",
  settings: "M4 7h10m4 0h2M4 17h2m4 0h10M16 7a2 2 0 1 0-4 0 2 2 0 0 0 4 0zM10 17a2 2 0 1 0-4 0 2 2 0 0 0 4 0z",
  menu: "M4 7h16M4 12h16M4 17h16",
  copy: "M8 8h11v12H8zM5 16V4h11",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

const TONES = {
  succeeded: "good", ready: "good", running: "busy", validating_files: "busy", queued: "calm", paused: "warn",
  cancelled: "calm", failed: "bad", deleted: "calm", pending: "calm",
};
export const status = (name) =>
  h("span", { class: `badge ${TONES[name] || "calm"}` }, { validating_files: "checking files" }[name] || name);
export const badge = (text, tone = "calm") => h("span", { class: `badge ${tone}` }, text);
export const tag = (text, href) => (href ? h("a", { class: "tag", href }, text) : h("span", { class: "tag" }, text));
export const when = (epoch) =>
  epoch ? h("time", { datetime: new Date(epoch * 1000).toISOString(), title: moment(epoch), "data-ago": epoch }, ago(epoch)) : "–";
export const link = (text, href, properties = {}) => h("a", { href, ...properties }, text);
export const code = (text) => h("code", {}, text);

export function button(text, onclick, kind = "") {
  return h("button", { type: "button", class: `button ${kind}`, onclick }, text);
}

// A button that is disabled while its action runs, and shows the action's error below it.
export function action(text, run, kind = "") {
  const element = button(text, async () => {
    element.disabled = true;
    element.setAttribute("aria-busy", "true");
    try {
      await run();
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message, "bad");
    } finally {
      element.disabled = false;
      element.removeAttribute("aria-busy");
    }
  }, kind);
  return element;
}

const MOST_TOASTS = 3;
// The messages at the edge of the page. A screen reader announces only what is added to a region that already exists.
export const tray = h("div", { id: "toasts", role: "status" });

export function toast(message, tone = "good") {
  const note = h("div", { class: `toast ${tone}`, onkeydown: (event) => event.key === "Escape" && note.remove() }, h("span", {}, message),
    h("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: () => note.remove() }, "×"));
  for (const other of [...tray.children]) if (other.firstChild.textContent === message) other.remove();  // instead of saying it twice
  tray.append(note);
  while (tray.children.length > MOST_TOASTS) tray.firstChild.remove();
  expire(note, tone === "bad" ? 20000 : 6000);
}

// Removes a message after a time, but not while the reader points at it or has focused it.
function expire(note, milliseconds) {
  setTimeout(() => (note.matches(":hover, :focus-within") ? expire(note, 2000) : note.remove()), milliseconds);
}

export function header(name, about, ...actions) {
  return h("header", { class: "page" },
    h("div", {}, h("h1", { tabindex: "-1" }, name), about && h("p", { class: "muted" }, about)),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}

export function card(name, ...children) {
  const id = unique("card");
  return h("section", { class: "card", "aria-labelledby": name ? id : null }, name && h("h2", { id }, name), children);
}

export const empty = (message, ...more) => h("div", { class: "empty" }, h("p", {}, message), more);
export const loading = (message = "Loading…") => h("p", { class: "loading", role: "status" }, message);

export function failure(error, retry) {
  const busy = error.status === 429;
  const notes = [error.code && `code ${error.code}`, error.requestId && `request ${error.requestId}`].filter(Boolean);
  const missing = error.code === "missing_scope";
  return h("div", { class: `notice ${missing || busy ? "warn" : "bad"}${error.unreachable ? " unreachable" : ""}`, role: "alert" },
    h("strong", {}, missing ? "This key does not have the required scope" : busy ? "Too many requests at the moment" : error.status === 404 ? "Not found" : "The action failed"), h("p", {}, error.message),
    busy && error.retryAfter ? h("p", {}, `Try again in ${duration(error.retryAfter)}.`) : null,
    notes.length ? h("p", { class: "small muted" }, notes.join(" · ")) : null,
    retry ? button("Try again", retry) : null);
}

// Shows a part of a page as soon as its data has arrived, or the error in its place.
export function later(promise, render, placeholder = loading()) {
  const slot = h("div", { class: "slot" }, placeholder);
  promise.then(render).then((content) => replace(slot, content), (error) => {
    if (error.name !== "AbortError") replace(slot, failure(error));
  });
  return slot;
}

// On small screens, a table with more than two columns shows each row as a block. The explicit roles keep its structure
// for screen readers. columns: [{name, cell: (row) => node or text, kind: "number" | "" , narrow: false to hide on small screens}]
export function table(columns, rows, { caption, blank = "Nothing here yet.", tall = false } = {}) {
  if (!rows.length) return empty(blank);
  const head = h("tr", { role: "row" }, columns.map((c) => h("th", { scope: "col", role: "columnheader", class: classOf(c) }, c.name)));
  const body = h("tbody", { role: "rowgroup" }, rows.map((row) => rowOf(columns, row)));
  const stacked = columns.filter((c) => c.narrow !== false).length > 2;
  return h("div", { class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": caption || "Table" },
    h("table", { role: "table", class: stacked ? "stacked" : null }, caption && h("caption", { class: "hidden-visually" }, caption), h("thead", { role: "rowgroup" }, head), body));
}
const classOf = (column) => [column.kind, column.narrow === false ? "wide-only" : ""].filter(Boolean).join(" ") || null;
const rowOf = (columns, row) => h("tr", { role: "row" }, columns.map((c) => h("td", { role: "cell", class: classOf(c), "data-name": c.name || null }, c.cell(row))));

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export const stat = (name, value, note) =>
  h("div", { class: "stat" }, h("span", { class: "muted small" }, name), h("strong", {}, value), note && h("span", { class: "small muted" }, note));

export function progress(share, label) {
  const element = h("progress", { max: 1, "aria-label": label });
  if (share !== null) element.value = share;
  return element;
}

export function field(name, control, help) {
  control.id = control.id || unique("field");
  const note = help ? h("span", { class: "small muted", id: control.id + "-help" }, help) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, name), control, note);
}

export function select(options, value, onchange) {
  const element = h("select", { onchange: () => onchange?.(element.value) }, options.map((option) => {
    const [v, text] = Array.isArray(option) ? option : [option, option];
    return h("option", { value: v }, text);
  }));
  element.value = value ?? "";
  return element;
}

// Tabs with the keyboard behaviour of the ARIA pattern. panes: [[name, () => node]]
export function tabs(panes, start = 0, onchange) {
  const id = unique("tab");
  const pane = h("div", { role: "tabpanel", id: id + "-panel", tabindex: "0" });
  const made = new Map();
  const marks = panes.map(([name], i) => h("button", {
    type: "button", role: "tab", id: `${id}-${i}`, "aria-controls": pane.id, onclick: () => show(i),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) show((i + step + panes.length) % panes.length, true);
    },
  }, name));
  function show(index, focus = false) {
    marks.forEach((mark, i) => {
      mark.setAttribute("aria-selected", i === index);
      mark.tabIndex = i === index ? 0 : -1;
    });
    pane.setAttribute("aria-labelledby", marks[index].id);
    if (!made.has(index)) made.set(index, panes[index][1]());
    replace(pane, made.get(index));
    if (focus) marks[index].focus();
    onchange?.(index);
  }
  show(start);
  return h("div", { class: "tabs" }, h("div", { role: "tablist" }, marks), pane);
}

// Horizontal bars. items: [{name, value, text, marked}]
export function bars(items, { most = Math.max(...items.map((i) => i.value), 1e-9), label = "Values" } = {}) {
  return h("ul", { class: "bars", "aria-label": label }, items.map((item) => h("li", { class: item.marked ? "marked" : null },
    h("span", { class: "name", title: item.name }, item.name),
    h("span", { class: "track", "aria-hidden": "true" },
      h("span", { class: "fill", style: { width: `${Math.max(0, Math.min(100, (item.value / most) * 100))}%` } })),
    h("span", { class: "value" }, item.text ?? number(item.value)))));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
    toast("Copied to the clipboard");
  } catch {
    toast("The browser does not allow copying here. Select the text instead.", "warn");
  }
}

export { add, h, replace, svg };

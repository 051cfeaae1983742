// Returns the newest versions for a list, and creates a field that finds all others by their names.

import { get, query } from "./api.js";
import { architecture } from "./format.js";
import { debounce, h, replace, unique } from "./dom.js";

const SUGGESTED = 30;

// Returns the newest ready versions, and whether there are more.
export async function newest(signal, { task, limit = 100 } = {}) {
  const { data, has_more } = await get("/v1/registry/versions" + query({ task, limit }), { signal });
  return { versions: data, more: has_more };
}

// Returns the version to which a reference (`name`, `name:3`, `name@alias` or a checkpoint) resolves, or null if there is none.
export async function find(reference, signal) {
  try {
    return (await get("/v1/registry/compare" + query({ versions: reference }), { signal })).versions[0];
  } catch (error) {
    if (error.status === 404 || error.status === 400) return null;
    throw error;
  }
}

const nameOf = (text) => text.toLowerCase().split(/[:@]/)[0].replace(/[^a-z0-9._-]/g, "").slice(0, 64);

// Returns the references of versions whose model's name contains a text.
export async function suggestVersions(text, signal) {
  const { data } = await get("/v1/registry/versions" + query({ query: nameOf(text), limit: SUGGESTED }), { signal });
  return data.map((v) => [v.id, `${architecture(v.architecture)}, ${v.task}`]);
}

export async function suggestModels(text, signal) {
  const { data } = await get("/v1/registry/models" + query({ search: nameOf(text), limit: SUGGESTED }), { signal });
  return data.map((m) => [m.name, `${m.versions} ${m.versions === 1 ? "version" : "versions"}`]);
}

// A search field for versions that are not in the list next to it. `suggest(text)` returns pairs of a reference and its description;
// `use(reference, version)` is called with the version that the reader has chosen.
export function finder(label, suggest, use, signal) {
  const options = h("datalist", { id: unique("found") });
  const note = h("span", { class: "small muted", role: "status" });
  const input = h("input", { type: "search", list: options.id, "aria-label": label, placeholder: "Find another…", autocomplete: "off", spellcheck: "false" });
  const look = debounce(async () => {
    const text = input.value.trim();
    const found = text ? await suggest(text, signal).catch(() => []) : [];
    if (text === input.value.trim()) replace(options, found.map(([value, about]) => h("option", { value }, about)));
  }, 200);
  let taken = "";
  async function take() {
    const reference = input.value.trim();
    if (!reference || reference === taken) return;  // choosing a suggestion causes two events
    taken = reference;
    try {
      const version = await find(reference, signal);
      const problem = version ? use(reference, version) : `There is no version ${reference}.`;
      replace(note, problem);
      if (!problem) input.value = "";
    } catch (error) {
      if (error.name !== "AbortError") replace(note, error.message);
    } finally {
      taken = "";
    }
  }
  input.addEventListener("input", (event) => {
    replace(note);
    if (!event.inputType || event.inputType === "insertReplacementText") take();  // chosen from the suggestions
    else look();
  });
  input.addEventListener("change", take);
  return h("div", { class: "stack finder" }, input, options, note);
}

// Selects an option. If the selection does not contain it, adds it first.
export function choose(control, value, text = value) {
  if (![...control.options].some((option) => option.value === value)) control.append(h("option", { value }, text));
  control.value = value;
  control.dispatchEvent(new Event("change", { bubbles: true }));
}

// The controls for the options of a new training job, and the values that the check has chosen for them.

import { fileField } from "../datasets.js";
import { h } from "../dom.js";
import { number } from "../format.js";
import { field, later, select } from "../parts.js";
import { OPTIONS, flat, read } from "../options.js";
import { choose } from "../versions.js";
import { assign } from "./columns.js";

const REQUEST = ["validation_file", "validation_split", "seed"];  // fields of the request outside of `training`

// Returns the fields of all options, and functions that show the values that the check has chosen, and clear an option.
export function optionFields(state) {
  const controls = {};
  const element = OPTIONS.map(([title, options]) => h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" },
    options.map(([key, label, kind, help]) => (kind === "file" ? validationFile(state, label, help) : field(label, (controls[key] = controlOf(state, key, kind)), help))))));
  const chosen = (choices) => {
    for (const [key, control] of Object.entries(controls)) {
      const choice = choices.find(({ option }) => option === key);
      const text = choice && !choice.requested ? `auto: ${shown(choice.value)}` : unset(key);
      if (control.options) control.options[0].textContent = text;
      else control.placeholder = text;
    }
  };
  // Clears an option, as if the reader had done it.
  const reset = (key) => {
    const control = controls[key];
    control.value = "";
    control.dispatchEvent(new Event(control.options ? "change" : "input", { bubbles: true }));
    if (!control.options) control.dispatchEvent(new Event("change", { bubbles: true }));
  };
  return { element, chosen, reset };
}

export const shown = (value) => (value === true ? "on" : value === false ? "off" : typeof value === "number" ? number(value) : value);

const NO_FILE = "None";
const unset = (key) => ({ seed: "new", validation_split: "0.1" })[key] || "auto";

function controlOf(state, key, kind) {
  const target = REQUEST.includes(key) ? state.request : state.training;
  const set = (value) => setOption(target, key, value);
  if (Array.isArray(kind)) {
    const names = { true: "on", false: "off", "": unset(key) };
    return select(kind.map((value) => [value, names[value] || value]), String(target[key] ?? ""), (value) => set(read(key, "", value)));
  }
  const numeric = kind === "number" || kind === "whole";
  const input = h("input", { value: flat(target)[key] ?? "", placeholder: unset(key), inputmode: numeric ? "decimal" : null, type: numeric ? "number" : "text",
    step: kind === "whole" ? 1 : "any", oninput: () => set(read(key, kind, input.value)) });
  return input;
}

// Sets an option, which may be part of another one: "lora.r" is the field `r` of `lora`.
function setOption(target, key, value) {
  const [outer, inner] = key.split(".");
  if (!inner) return assign(target, key, value);
  const fields = { ...target[outer] };
  assign(fields, inner, value);
  assign(target, outer, Object.keys(fields).length ? fields : undefined);
}

// The newest files; older ones can be added.
function validationFile(state, label, help) {
  const given = state.request.validation_file;
  return later(fileField(label, state.signal, {
    blank: NO_FILE, help, about: (file) => (file.id === state.file.id ? null : ""), use: (_, id) => assign(state.request, "validation_file", id),
  }), (files) => {
    if (!files) return field(label, select([["", NO_FILE]], ""), help);
    if (given) choose(files.control, given);
    return files.element;
  });
}

// The controls for the options of a new training, and the values that the check has chosen for them.

import { h } from "../dom.js";
import { number } from "../format.js";
import { field, select } from "../parts.js";
import { OPTIONS, read } from "../options.js";
import { assign } from "./columns.js";
import { sizeOf, uploaded } from "./file.js";

const REQUEST = ["validation_file", "validation_split", "seed"];  // fields of the request outside of `training`

// Returns the fields of all options, and a function that shows the values that the check has chosen.
export function optionFields(state) {
  const controls = {};
  const element = OPTIONS.map(([title, options]) => h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" },
    options.map(([key, label, kind, help]) => field(label, (controls[key] = controlOf(state, key, kind)), help)))));
  const chosen = (choices) => {
    for (const [key, control] of Object.entries(controls)) {
      const choice = choices.find(({ option }) => option === key);
      const text = choice && !choice.requested ? `auto: ${shown(choice.value)}` : unset(key);
      if (control.options) control.options[0].textContent = text;
      else control.placeholder = text;
    }
  };
  return { element, chosen };
}

export const shown = (value) => (value === true ? "on" : value === false ? "off" : typeof value === "number" ? number(value) : value);

const unset = (key) => ({ validation_file: "None", seed: "new", validation_split: "0.1" })[key] || "auto";

function controlOf(state, key, kind) {
  const target = REQUEST.includes(key) ? state.request : state.training;
  if (kind === "file") return fileControl(state, target, key);
  if (Array.isArray(kind)) {
    const names = { true: "on", false: "off", "": unset(key) };
    return select(kind.map((value) => [value, names[value] || value]), "", (value) => assign(target, key, read(key, "", value)));
  }
  const input = h("input", { placeholder: unset(key), inputmode: kind === "text" ? null : "decimal", type: kind === "text" ? "text" : "number",
    step: kind === "whole" ? 1 : "any", oninput: () => assign(target, key, read(key, kind, input.value)) });
  return input;
}

function fileControl(state, target, key) {
  const control = select([["", unset(key)]], "", (value) => assign(target, key, value));
  uploaded(state.signal).then((files) => control.append(...files.filter((file) => file.id !== state.file.id)
    .map((file) => h("option", { value: file.id }, `${file.filename} – ${sizeOf(file)}`)))).catch(() => {});
  return control;
}

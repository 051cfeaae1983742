// The controls that assign the columns of a file to roles.

import { h, replace } from "../dom.js";
import { field, select } from "../parts.js";
import { ROLES } from "../options.js";

const LISTED = ["label", "features"];  // roles that may have several columns
const SEVERAL = "\u0000several";
const FIRST = 2;  // roles that are always shown

export function assign(target, name, value) {
  if (value === "" || value === undefined || value === null) delete target[name];
  else target[name] = value;
}

// Keeps the roles whose columns the file has, or all roles if the names of its columns are unknown.
export function fitting(columns, { columns: names }) {
  const has = (name) => !names || names.includes(name) || name.split(",").every((part) => names.includes(part.trim()));
  return Object.fromEntries(Object.entries(columns).filter(([, name]) => name && has(name)));
}

// Returns the fields for the roles, and functions that show what the check has detected or refused. `assigned` maps roles
// to columns, and is changed; `names` are the file's columns, or null if they are not known.
export function columnFields(assigned, names) {
  const controls = Object.fromEntries(ROLES.map(([role]) => [role, names ? roleControl(role, assigned, names) : freeControl(role, assigned)]));
  const fields = ROLES.map(([role, title]) => {
    const element = field(title, controls[role].control);
    if (controls[role].more) element.append(controls[role].more);
    return element;
  });
  const element = [fields.slice(0, FIRST), h("details", { class: "more wide" }, h("summary", {}, "Other columns: pairs, numbers, splits"), h("div", { class: "fields" }, fields.slice(FIRST)))];
  const detected = (roles) => ROLES.forEach(([role]) => controls[role].detected([].concat(roles[role] ?? []).join(", ")));
  // Marks only the control of the role that the service has rejected, such as `text`.
  const refused = (role) => ROLES.forEach(([name]) => controls[name].control.setAttribute("aria-invalid", name === role));
  return { element, detected, refused };
}

const found = (columns) => (columns ? `Detect: ${columns}` : "Detect");

// If the names are unknown, the reader types them; several are separated by commas.
function freeControl(role, assigned) {
  const control = h("input", { placeholder: "Detect", value: assigned[role] || "", oninput: () => assign(assigned, role, control.value) });
  return { control, detected: (columns) => (control.placeholder = found(columns)) };
}

function roleControl(role, assigned, names) {
  const listed = LISTED.includes(role) && names.length > 1;
  const given = assigned[role] === undefined || names.includes(assigned[role]) ? null : assigned[role].split(",").map((name) => name.trim());
  const more = listed ? h("div", { class: "slot" }) : null;
  const control = select([["", "Detect"], ...names.map((name) => [name, name]), ...(listed ? [[SEVERAL, "Several columns…"]] : [])], given && listed ? SEVERAL : assigned[role], (value) => {
    if (more) replace(more, value === SEVERAL ? boxes(role, assigned, names, []) : null);
    assign(assigned, role, value === SEVERAL ? "" : value);
  });
  if (given && listed) replace(more, boxes(role, assigned, names, given));
  return { control, more, detected: (columns) => (control.options[0].textContent = found(columns)) };
}

function boxes(role, assigned, names, chosen) {
  const picked = new Set(chosen);
  const pick = (name, on) => {
    picked[on ? "add" : "delete"](name);
    assign(assigned, role, names.filter((each) => picked.has(each)).join(","));
  };
  return h("fieldset", { class: "choices" }, h("legend", { class: "hidden-visually" }, `Columns for ${role}`), names.map((name) => h("label", { class: "row" },
    h("input", { type: "checkbox", checked: picked.has(name), onchange: (event) => pick(name, event.target.checked) }), name)));
}

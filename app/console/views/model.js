// The page of a model: its versions, its aliases with their history, and moving aliases.

import { call, get, query } from "../api.js";
import { h, replace } from "../dom.js";
import { architecture, compact, title } from "../format.js";
import { action, button, card, field, header, later, link, select, status, table, tag, toast, when } from "../parts.js";
import { quality } from "../quality.js";
import { commented, curl, requests, shell, snippets } from "../snippets.js";
import { trainPlace } from "../training/earlier.js";
import { choose, find, finder, suggestVersions } from "../versions.js";
import { paged } from "./jobs.js";

const LISTED = 50;  // versions; the others are loaded on request

export async function view({ parameters: [name], signal, show }) {
  const base = `/v1/registry/models/${encodeURIComponent(name)}`;
  const [model, { data: versions, has_more: more }] = await Promise.all([get(base, { signal }), get(`${base}/versions?limit=${LISTED}`, { signal })]);
  const picked = new Set();
  const compare = h("a", { class: "button" }, "Compare");
  const pick = (version, on) => {
    picked[on ? "add" : "delete"](version.id);
    const compared = picked.size ? [...picked] : versions.slice(0, 2).map((v) => v.id);  // without a choice: the newest two
    compare.href = `#/compare?versions=${compared.map(encodeURIComponent).join(",")}`;
  };
  pick({}, false);
  const newest = versions[0]?.version || 1;
  const [champion, moves] = [`${base}/aliases/champion`, `Move the alias champion to version ${newest}`];
  const columns = [
    { name: "Compare", cell: (v) => h("input", { type: "checkbox", "aria-label": `Pick version ${v.version}`, onchange: (e) => pick(v, e.target.checked) }) },
    { name: "Version", cell: (v) => link(v.id, `#/models/${encodeURIComponent(name)}/${v.version}`) },
    { name: "Aliases", cell: (v) => (v.aliases.length ? v.aliases.map((alias) => [tag(alias), " "]) : "–") },
    { name: "Architecture", cell: (v) => architecture(v.architecture) }, { name: "Quality", cell: (v) => quality(v) },
    { name: "Parameters", kind: "number", narrow: false, cell: (v) => compact(v.parameters) },
    { name: "Status", cell: (v) => status(v.status) }, { name: "Created", kind: "nowrap", cell: (v) => when(v.created_at) },
  ];
  return [
    header(name, `${model.latest ? title(model.latest.task) : "No ready version"} · owned by ${model.owner}`, compare,
      h("a", { class: "button", href: trainPlace(versions[0] || { model: name }) }, "Train a new version"), h("a", { class: "button primary", href: `#/play?model=${encodeURIComponent(name)}` }, "Try it")),
    card("Versions", paged(`${base}/versions`, columns, signal, { caption: "Versions", blank: "This model has no versions." })),
    aliasCard(base, model, versions, more, signal, show),
    snippets({
      curl: () => commented(["The versions", curl("GET", `${base}/versions`)], [moves, curl("PUT", champion, { version: newest })], ["The moves of the alias", curl("GET", `${champion}/history`)]),
      python: () => requests(["GET", `${base}/versions`, null, "The versions"], ["PUT", champion, { version: newest }, moves], ["GET", `${champion}/history`, null, "The moves of the alias"]),
      cli: () => commented(["The versions", shell("ostinato", "models", "versions", name)], [moves, shell("ostinato", "models", "alias", name, "champion", newest)], ["The moves of the alias", shell("ostinato", "models", "history", name, "champion")]),
    }),
  ];
}

function aliasCard(base, model, versions, more, signal, show) {
  const aliases = Object.entries(model.aliases);
  const box = h("div", { class: "slot" });
  const edit = (alias) => { name.value = alias; target.focus(); };
  const rows = aliases.map(([alias, version]) => h("section", { class: "stack", "aria-label": `Alias ${alias}` },
    h("div", { class: "row" }, h("strong", {}, `${model.name}@${alias}`), h("span", { class: "muted" }, `points to version ${version}`),
      button("Move", () => edit(alias), "small"), action("Delete", () => remove(base, alias, version, box, show), "small danger")),
    later(get(`${base}/aliases/${alias}/history?limit=10`, { signal }), async ({ data }) => {
      const before = versionBefore(data);
      return history(base, alias, version, data, { box, show, usable: before ? await find(`${model.name}:${before}`, signal) : null });
    })));
  const name = h("input", { value: aliases.length ? "" : "champion", placeholder: "Name, such as champion", list: "aliases" });
  const names = h("datalist", { id: "aliases" }, aliases.map(([alias]) => h("option", { value: alias })));
  const target = select(versions.filter((v) => v.status === "ready").map((v) => [v.version, `version ${v.version}`]), versions[0]?.version);
  const others = more ? finder("Find another version", suggestVersions, (reference, version) => {
    if (version.model !== model.name) return `${reference} belongs to another model.`;
    choose(target, String(version.version), `version ${version.version}`);
    return "";
  }, signal) : null;
  const points = h("div", { class: "field" }, field("Points to", target), others);
  const set = action("Promote", () => move(base, name.value.trim(), Number(target.value), model.aliases[name.value.trim()] ?? null, box, show), "primary");
  return card("Aliases", h("p", { class: "muted small" }, `Requests for ${model.name} are answered by ${model.name}@champion if that alias exists, otherwise by the newest version.`),
    box, rows, versions.length ? [h("h3", {}, "Promote a version"), h("div", { class: "row" }, names, field("Alias", name), points, set)] : null);
}

// The version before the last move. A move that only changes the abstention has the same version twice.
function versionBefore(moves) {
  return moves.find((m) => m.from_version !== m.to_version)?.from_version;
}

// The moves of an alias, and a button that undoes the last move, unless the version has been deleted.
function history(base, alias, current, moves, { box, show, usable }) {
  const previous = versionBefore(moves);
  const back = usable ? action(`${previous < current ? "Roll back" : "Return"} to version ${previous}`, () => move(base, alias, previous, current, box, show)) : null;
  return [table([
    { name: "When", cell: (m) => when(m.created_at) },
    { name: "Move", cell: (m) => m.from_version === m.to_version ? `abstention changed, still version ${m.to_version}` : (m.from_version ? `from version ${m.from_version} to ` : "created for ") + (m.to_version ? `version ${m.to_version}` : "none (deleted)") },
    { name: "By", cell: (m) => m.principal },
  ], moves, { caption: `Moves of ${alias}` }), back ? h("div", {}, back) : null];
}

// Moves an alias only if it still points to the version that the page shows. Otherwise, reports the conflict and changes nothing.
export async function move(base, alias, version, expected, box, done) {
  if (!alias) throw new Error("Enter a name for the alias, such as champion.");
  const put = () => call("PUT", `${base}/aliases/${encodeURIComponent(alias)}`, { body: { version, expected_version: expected } });
  return change(put, `${alias} now points to version ${version}`, box, done);
}

// Deletes an alias only if it still points to the version that the page shows.
async function remove(base, alias, version, box, done) {
  if (!confirm(`Delete the alias ${alias}? Requests that name it will fail. Version ${version} and the history of the alias are kept.`)) return false;
  const path = `${base}/aliases/${encodeURIComponent(alias)}${query({ expected_version: version })}`;
  return change(() => call("DELETE", path), `${alias} is deleted`, box, done);
}

async function change(send, success, box, done) {
  try {
    await send();
  } catch (error) {
    if (error.code !== "alias_conflict") throw error;
    replace(box, h("div", { class: "notice warn", role: "alert" }, h("strong", {}, "Another client has moved this alias"),
      h("p", {}, error.message), h("p", {}, "Nothing was changed. Check the alias, then try again."), button("Show the current state", done)));
    return false;
  }
  toast(success);
  await done();
  return true;
}

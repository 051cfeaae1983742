// The page of a model: its versions, its aliases with their history, and moving aliases.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { architecture, compact, title } from "../format.js";
import { action, button, card, field, header, later, link, select, status, table, tag, when } from "../parts.js";
import { move, remove } from "../promotion.js";
import { quality } from "../quality.js";
import { commented, curl, requests, shell, snippets } from "../snippets.js";
import { trainPlace } from "../training/earlier.js";
import { choose, find, finder, suggestVersions } from "../versions.js";
import { paged } from "./jobs.js";

export { move };

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
  const edit = (alias) => { name.value = alias; propose(); target.focus(); };
  const rows = aliases.map(([alias, version]) => h("section", { class: "stack", "aria-label": `Alias ${alias}` },
    h("div", { class: "row" }, h("strong", {}, `${model.name}@${alias}`), h("span", { class: "muted" }, `points to version ${version}`),
      button("Move", () => edit(alias), "small"), action("Delete", () => remove(base, alias, version, box, show), "small danger")),
    later(get(`${base}/aliases/${alias}/history?limit=10`, { signal }), async ({ data }) => {
      const earlier = earlierVersions(data, version);
      return history(base, alias, version, data, { box, show, earlier, previous: await usableVersion(model.name, earlier, signal) });
    })));
  const ready = versions.filter((v) => v.status === "ready");
  const name = h("input", { value: aliases.length ? "" : "champion", oninput: () => propose(), placeholder: "Name, such as champion", list: "aliases" });
  const names = h("datalist", { id: "aliases" }, aliases.map(([alias]) => h("option", { value: alias })));
  const target = select([["", "Choose a version…"], ...ready.map((v) => [v.version, `version ${v.version}`])], "");
  // Selects the newest version to which the alias does not point yet.
  const propose = () => (target.value = ready.find((v) => v.version !== model.aliases[name.value.trim()])?.version ?? "");
  propose();
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

// The versions to which an alias has pointed before, the latest first. The moves are ordered from the newest to the oldest.
export function earlierVersions(moves, current) {
  return [...new Set(moves.flatMap((m) => [m.to_version, m.from_version]))].filter((version) => version !== null && version !== current);
}

// The latest earlier version that still exists, or null.
async function usableVersion(name, versions, signal) {
  for (const version of versions) if (await find(`${name}:${version}`, signal)) return version;
  return null;
}

// The moves of an alias, and a button that returns to the version before the last move, or the reason why there is none.
function history(base, alias, current, moves, { box, show, earlier, previous }) {
  const back = previous === null
    ? h("p", { class: "small muted" }, earlier.length ? "Rolling back is not possible: the earlier versions of this alias have been deleted." : `Rolling back is not possible yet: this alias has never pointed to a version other than ${current}. Deleting it undoes its creation.`)
    : h("div", {}, action(`${previous < current ? "Roll back" : "Return"} to version ${previous}`, () => confirm(`Move the alias ${alias} from version ${current} back to version ${previous}? Version ${previous} will then answer the requests that name it.`) && move(base, alias, previous, current, box, show)));
  return [table([
    { name: "When", cell: (m) => when(m.created_at) },
    { name: "Move", cell: (m) => m.from_version === m.to_version ? `abstention changed, still version ${m.to_version}` : (m.from_version ? `from version ${m.from_version} to ` : "created for ") + (m.to_version ? `version ${m.to_version}` : "none (deleted)") },
    { name: "By", cell: (m) => m.principal },
  ], moves, { caption: `Moves of ${alias}` }), back];
}

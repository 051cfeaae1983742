// Moves and deletes aliases, but only if they still point to the version that the page shows.

import { call, get, query } from "./api.js";
import { h, replace } from "./dom.js";
import { action, button, tag, toast } from "./parts.js";

const USUAL = "champion";  // the alias that answers requests for the model's name alone
const baseOf = (name) => `/v1/registry/models/${encodeURIComponent(name)}`;

// Moves an alias only if it still points to `expected`. Otherwise, reports the conflict and changes nothing.
export async function move(base, alias, version, expected, box, done) {
  if (!alias) throw new Error("Enter a name for the alias, such as champion.");
  if (!version) throw new Error("Choose a version first.");
  if (version === expected) throw new Error(`${alias} already points to version ${version}.`);
  const put = () => call("PUT", `${base}/aliases/${encodeURIComponent(alias)}`, { body: { version, expected_version: expected } });
  return change(put, `${alias} now points to version ${version}`, box, done);
}

// Deletes an alias only if it still points to the version that the page shows.
export async function remove(base, alias, version, box, done) {
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

// A button that moves an alias to a version, such as mail:3. The alias is champion, or the only alias that the model has.
// Once the alias points to the version, the button's place says so, with a link to the alias. `box` shows conflicts.
// `listed` are the aliases that the page shows already.
export function promotion(reference, box, signal, listed = []) {
  const [name, number] = reference.split(":");
  const version = Number(number);
  const slot = h("span", { class: "row" });
  const show = async () => {
    replace(box);
    const { aliases } = await get(baseOf(name), { signal });
    const names = Object.keys(aliases);
    const alias = names.length === 1 ? names[0] : USUAL;
    const current = aliases[alias] ?? null;
    replace(slot, current === version ? !listed.includes(alias) && tag(`is @${alias}`, `#/models/${encodeURIComponent(name)}`) : action(`Promote to ${alias}`, () => ask(name, alias, version, current) && move(baseOf(name), alias, version, current, box, show)));
  };
  show().catch(() => {});  // without the alias, the page of the model offers the same
  return slot;
}

function ask(name, alias, version, current) {
  const question = current === null ? `Create the alias ${alias} for version ${version}?` : `Move the alias ${alias} from version ${current} to version ${version}?`;
  const effect = alias === USUAL ? `Version ${version} will then answer the requests for ${name} and ${name}@${alias}.` : `Version ${version} will then answer the requests for ${name}@${alias}.`;
  return confirm(`${question} ${effect} The page of the model can undo this.`);
}

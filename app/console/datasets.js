// A selection of the uploaded files, newest first, to which older ones can be added.

import { get, query } from "./api.js";
import { announce, h } from "./dom.js";
import { ago, bytes, counted, number } from "./format.js";
import { action, field, select } from "./parts.js";

const LISTED = 100;
const sizeOf = (file) => (file.rows ? `${number(file.rows)} rows` : bytes(file.bytes));
const nameOf = (file) => `${file.filename} – ${sizeOf(file)}, ${ago(file.created_at)}`;

// Returns null if there is no file. `about(file)` is added to the name of a file, or is null for a file that is left out.
// `use(file, id)` is called when the reader chooses a file; for the blank choice, `file` is undefined.
export async function fileField(name, signal, { blank = "Choose a file…", about = () => "", use = () => {}, help } = {}) {
  const files = new Map();
  const control = select([["", blank]], "", (id) => use(files.get(id), id));
  const more = action("Add older files", async () => {
    const count = await load();
    announce(`${counted(count, "file")} added`);
    control.focus();
  }, "small");
  let after;
  async function load() {
    const page = await get("/v1/files" + query({ purpose: "fine-tune", limit: LISTED, after }), { signal });
    const shown = page.data.filter((file) => about(file) !== null);
    for (const file of shown) {
      files.set(file.id, file);
      control.append(h("option", { value: file.id }, [nameOf(file), about(file)].filter(Boolean).join(" – ")));
    }
    after = page.last_id;
    more.hidden = !page.has_more;
    return shown.length;
  }
  await load();
  const element = field(name, control, help);
  element.append(more);
  return files.size || !more.hidden ? { control, element, files } : null;
}

// The id of the selected file. Throws an error for the reader if none is selected.
export function chosen(control) {
  if (!control.value) throw new Error("Choose a file first.");
  return control.value;
}

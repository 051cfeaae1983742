// A selection of the uploaded files, tables first.

import { all } from "./api.js";
import { number } from "./format.js";
import { select } from "./parts.js";

// Returns null if there is no file.
export async function fileSelect(signal) {
  const files = await all("/v1/files", { purpose: "fine-tune" }, 100, { signal });
  if (!files.length) return null;
  const ranked = [...files].sort((a, b) => Boolean(b.columns) - Boolean(a.columns));
  return select([["", "Choose a file…"], ...ranked.map((f) => [f.id, `${f.filename}${f.rows ? ` – ${number(f.rows)} rows` : ""}`])], "");
}

// The id of the selected file. Throws an error for the reader if none is selected.
export function chosen(control) {
  if (!control.value) throw new Error("Choose a file first.");
  return control.value;
}

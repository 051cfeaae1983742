// A selection of the uploaded files, tables first.

import { all } from "./api.js";
import { number } from "./format.js";
import { select } from "./parts.js";

// Returns null if there is no file.
export async function fileSelect(signal) {
  const files = await all("/v1/files", { purpose: "fine-tune" }, 100, { signal });
  if (!files.length) return null;
  const ranked = [...files].sort((a, b) => Boolean(b.columns) - Boolean(a.columns));
  return select(ranked.map((f) => [f.id, `${f.filename}${f.rows ? ` – ${number(f.rows)} rows` : ""}`]), ranked[0].id);
}

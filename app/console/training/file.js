// The file of a new training job: choosing and uploading it, and its first rows.

import { get, upload } from "../api.js";
import { fileField } from "../datasets.js";
import { h, replace } from "../dom.js";
import { bytes } from "../format.js";
import { card, failure, progress, table } from "../parts.js";
import { preview } from "../preview.js";

const ACCEPTED = ".csv,.tsv,.tab,.jsonl,.ndjson,.json,.parquet,.pq,.xlsx,.xlsm,.txt,.text,.md,.gz";
const LONG = 160;

export function dropZone(onfile, message = "Drop a CSV, TSV, JSONL, parquet, Excel or text file here") {
  const input = h("input", { type: "file", "aria-label": "Choose a data file", accept: ACCEPTED, onchange: () => input.files[0] && onfile(input.files[0]) });
  input.classList.add("hidden-visually");
  const zone = h("div", { class: "drop" }, h("strong", {}, message), h("span", { class: "muted small" }, "or"), h("label", { class: "button primary" }, "Choose a file", input));
  const over = (event) => { event.preventDefault(); zone.classList.toggle("over", event.type === "dragover"); };
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", over);
  zone.addEventListener("drop", (event) => { over(event); if (event.dataTransfer.files[0]) onfile(event.dataTransfer.files[0]); });
  return zone;
}

// The first step. Calls `use` with the record of the uploaded file, which may be older, and with the element that already
// shows its rows.
export function fileCard(page, signal, use) {
  const older = h("div", { class: "slot" });
  fileField("Or choose an uploaded file", signal, { use: (file) => file && use(file) }).then((files) => files && replace(older, files.element)).catch(() => {});
  return card("1. The file", dropZone((file) => send(page, signal, use, file)), older);
}

// Uploads a file. In the meantime, shows its first rows as far as the browser can read the format.
export async function send(page, signal, use, file) {
  const bar = progress(0, "Upload");
  const note = h("p", { class: "muted small", role: "status" }, `Uploading ${file.name}, ${bytes(file.size)}…`);
  const shown = await preview(file).catch(() => null);
  replace(page, card("1. The file", h("strong", {}, file.name), bar, note, shown && firstRows(shown)));
  try {
    use(await upload(file, {}, (share) => (bar.value = share), signal), shown ? firstRows(shown) : undefined);
  } catch (error) {
    if (error.name !== "AbortError") replace(page, failure(error), fileCard(page, signal, use));
  }
}

// The first rows of an uploaded file, as the service reads them. Calls `use` with the preview.
export async function showFirstRows(box, file, signal, use) {
  while (!signal.aborted) {
    try {
      const shown = await get(`/v1/files/${file.id}/preview`, { signal });
      replace(box, shown.problem && h("p", { class: "notice warn" }, shown.problem), firstRows(shown));
      return use(shown);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (error.code !== "preview_busy") return replace(box, h("p", { class: "small muted" }, error.message));
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 2)));
    }
  }
}

function firstRows({ columns, rows, lines }) {
  if (!columns) return lines.length ? h("pre", { class: "output small", tabindex: "0", "aria-label": "First lines" }, lines.join("\n")) : null;
  return table(columns.map((name, i) => ({ name, kind: "long", cell: (row) => shorten(row[i] ?? "") })), rows, { caption: "First rows", blank: "The file has no rows." });
}
const shorten = (text) => (text.length > LONG ? text.slice(0, LONG) + "…" : text);

// The uploaded files: data sets and results.

import { call, save, upload } from "../api.js";
import { h } from "../dom.js";
import { bytes, number } from "../format.js";
import { action, header, link, table, toast, when } from "../parts.js";
import { commented, curl, form, openai, shell, snippets } from "../snippets.js";
import { paged } from "./jobs.js";
import { dropZone } from "./train.js";

export async function view({ signal, show }) {
  const columns = [
    { name: "File", kind: "long", cell: (f) => h("div", {}, f.filename, h("div", { class: "small muted mono wide-only" }, f.id)) },
    { name: "Purpose", cell: (f) => f.purpose }, { name: "Rows", kind: "number", cell: (f) => number(f.rows) },
    { name: "Columns", cell: (f) => (f.columns ? f.columns.slice(0, 6).join(", ") : "–") },
    { name: "Size", kind: "number", cell: (f) => bytes(f.bytes) }, { name: "Uploaded", kind: "nowrap", cell: (f) => when(f.created_at) },
    { name: "", kind: "does", cell: (f) => h("span", { class: "row" }, f.purpose === "fine-tune" ? link("Train", `#/train?file=${f.id}`, { class: "button small", "aria-label": `Train on ${f.filename}` }) : null, action("Download", () => save(`/v1/files/${f.id}/content`, f.filename), "small"), action("Delete", () => remove(f, show), "small danger")) },
  ];
  const send = async (file) => {
    try {
      await upload(file, {}, () => {}, signal);
      toast(`${file.name} is uploaded`);
      await show();
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  return [
    header("Files", "Data sets to train and evaluate on, and the results of jobs."), dropZone(send),
    h("section", { class: "card" }, paged("/v1/files", columns, signal, { caption: "Files", blank: "No files yet. Drop a file above." })),
    snippets({
      curl: () => commented(["Upload a file", form("/v1/files", { purpose: "fine-tune", file: "@data.csv" })], ["All files", curl("GET", "/v1/files")]),
      openai: () => openai('file = client.files.create(file=open("data.csv", "rb"), purpose="fine-tune")\nprint(file.id)\nfor file in client.files.list():\n    print(file.id, file.filename)'),
      cli: () => commented(["Upload a file", shell("ostinato", "files", "upload", "data.csv")], ["All files", shell("ostinato", "files")]),
    }),
  ];
}

async function remove(file, show) {
  if (!confirm(`Delete ${file.filename}? Versions that were trained on it are kept.`)) return;
  await call("DELETE", `/v1/files/${file.id}`);
  toast(`${file.filename} is deleted`);
  await show();
}

// The files of a version. The model card and the metrics are shown here; each file can be downloaded.

import { response, save } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes } from "../format.js";
import { action, code, table } from "../parts.js";

const READABLE = /\.(json|md|csv|txt)$/;
const MOST = 200000;

export function files(version, base, signal) {
  const shown = h("div", { class: "slot", "aria-live": "polite" });
  const path = (name) => `${base}/files/${name}`;
  const read = (name) => async () => {
    const text = await (await response("GET", path(name), { signal })).text();
    replace(shown, h("h3", {}, name), h("pre", { class: "output small", tabindex: "0" }, text.slice(0, MOST)));
    shown.scrollIntoView({ block: "nearest" });
  };
  const rows = Object.entries(version.files).map(([name, entry]) => ({ name, ...entry }));
  return [table([
    { name: "File", kind: "long", cell: (f) => f.name }, { name: "Size", kind: "number", cell: (f) => bytes(f.size) },
    { name: "SHA-256", narrow: false, cell: (f) => h("span", { title: f.sha256 }, code(f.sha256.slice(0, 12) + "…")) },
    { name: "", kind: "does", cell: (f) => h("span", { class: "row" }, READABLE.test(f.name) ? action("Read", read(f.name), "small") : null,
      action("Download", () => save(path(f.name), f.name.split("/").pop()), "small")) },
  ], rows, { caption: "Files" }), h("div", { class: "row" }, action("Download all as a tar archive", () => save(`${base}/export`, `${version.model}-${version.version}.tar`), "small")), shown];
}

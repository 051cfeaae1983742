// The model card of a version. Understands the few forms of Markdown that cards have; everything is added as text.

import { h } from "../dom.js";
import { code } from "../parts.js";

const MOST = 50000;  // characters

// Text with `code` and **strong** parts, and percentages as on the rest of the page.
export const inline = (text) => text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) =>
  part.startsWith("`") && part.length > 1 ? code(part.slice(1, -1)) : part.startsWith("**") && part.length > 4 ? h("strong", {}, part.slice(2, -2)) : part.replace(/(\d)%/g, "$1\u202f%"));
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function tableOf(lines) {
  const [head, , ...rows] = lines.map(cells);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the model card" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((cell) => (cell ? h("th", { scope: "col" }, inline(cell)) : h("td"))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => (i ? h("td", {}, inline(cell)) : h("th", { scope: "row" }, inline(cell)))))))));
}

function blockOf(lines) {
  const [first] = lines;
  if (first.startsWith("```")) return h("pre", { class: "output small", tabindex: "0" }, lines.slice(1, -1).join("\n"));
  if (/^#+ /.test(first)) return h(first.startsWith("# ") ? "h3" : "h4", {}, inline(first.replace(/^#+ /, "")));
  if (/^[-*] /.test(first)) return h("ul", { class: "remarks" }, lines.map((line) => h("li", {}, inline(line.replace(/^[-*] /, "")))));
  if (first.startsWith("|") && lines.length > 1) return tableOf(lines);
  return h("p", {}, inline(lines.join(" ")));
}

// The blocks of a text, each a list of lines.
function blocks(text) {
  const found = [[]];
  let fenced = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("```")) fenced = !fenced;
    if (line.trim() || fenced) found[found.length - 1].push(line);
    if (!line.trim() && !fenced || /^#+ /.test(line) && !fenced) found.push([]);
  }
  return found.filter((lines) => lines.length);
}

export const modelCard = (text) => h("div", { class: "stack prose" }, blocks(text.slice(0, MOST)).map(blockOf));

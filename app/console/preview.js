// Reads the first rows of a file in the browser, to show them before the file is uploaded.

const HEAD = 256 * 1024;
export const ROWS = 6;

// Returns {columns, rows} or {lines}, or null for a format that only the service reads.
export async function preview(file) {
  const name = file.name.toLowerCase();
  if (/\.(parquet|xlsx|gz|zip)$/.test(name)) return null;
  const text = new TextDecoder().decode(await file.slice(0, HEAD).arrayBuffer()).replace(/^\ufeff/, "");
  if (/\.(jsonl|ndjson|json)$/.test(name) || /^\s*[{[]/.test(text)) return json(text);
  if (/\.(csv|tsv)$/.test(name)) return delimited(text, name.endsWith(".tsv") ? "\t" : separator(text));
  return { lines: text.split(/\r?\n/).filter((line) => line.trim()).slice(0, ROWS) };
}

function json(text) {
  const rows = [];
  for (const line of text.split(/\r?\n/)) {
    const trimmed = line.trim().replace(/^\[|,$|\]$/g, "");
    if (!trimmed) continue;
    try { rows.push(JSON.parse(trimmed)); } catch { break; }
    if (rows.length === ROWS) break;
  }
  const objects = rows.filter((row) => row && typeof row === "object" && !Array.isArray(row));
  if (!objects.length) return { lines: text.split(/\r?\n/).slice(0, ROWS) };
  const columns = [...new Set(objects.flatMap(Object.keys))];
  return { columns, rows: objects.map((row) => columns.map((column) => cell(row[column]))) };
}
const cell = (value) => (value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));

function separator(text) {
  const first = text.split("\n", 1)[0];
  return [",", ";", "\t", "|"].map((mark) => [first.split(mark).length, mark]).sort((a, b) => b[0] - a[0])[0][1];
}

function delimited(text, mark) {
  const rows = [[]];
  let value = "";
  let quoted = false;
  for (let i = 0; i < text.length && rows.length <= ROWS + 1; i += 1) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') value += c;
      else if (text[i + 1] === '"') { value += '"'; i += 1; }
      else quoted = false;
    } else if (c === '"' && value === "") quoted = true;
    else if (c === mark || c === "\n") {
      rows[rows.length - 1].push(value.replace(/\r$/, ""));
      value = "";
      if (c === "\n") rows.push([]);
    } else value += c;
  }
  if (value) rows[rows.length - 1].push(value);
  const whole = rows.filter((row) => row.length && row.some((item) => item !== ""));
  return { columns: whole[0] || [], rows: whole.slice(1, ROWS + 1) };
}

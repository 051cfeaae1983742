// Calls the public API. The key is stored only in this tab's session storage, and sent only in the Authorization header.

const KEY = "ostinato.key";

export class ApiError extends Error {
  constructor(status, error, headers) {
    super(error.message || `the service answered ${status}`);
    this.status = status;
    this.code = error.code || "";
    this.param = error.param || "";
    this.retryAfter = Number(headers?.get("retry-after")) || 0;
    this.requestId = headers?.get("x-request-id") || "";
  }
}

// The service cannot be reached, because it is stopped or restarting.
export class Unreachable extends Error {
  constructor() {
    super("The service does not respond. It may be restarting; this page retries automatically.");
    this.unreachable = true;
  }
}

export const events = new EventTarget();
export const key = () => sessionStorage.getItem(KEY) || "";
export function setKey(secret) {
  if (secret) sessionStorage.setItem(KEY, secret);
  else sessionStorage.removeItem(KEY);
}

const headersOf = (extra = {}) => (key() ? { authorization: `Bearer ${key()}`, ...extra } : extra);

export function query(values) {
  const pairs = Object.entries(values).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return pairs.length ? "?" + new URLSearchParams(pairs) : "";
}

async function send(method, path, { body, form, signal, headers } = {}) {
  const options = { method, signal, headers: headersOf(headers), cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  } else if (form) options.body = form;
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    lost(error);
  }
  if (!reply.ok) throw await refusal(reply);
  return reply;
}

function lost(error) {
  if (error.name === "AbortError") throw error;
  events.dispatchEvent(new Event("unreachable"));
  throw new Unreachable();
}

async function refusal(reply) {
  let error = {};
  try {
    error = (await reply.json()).error || {};
  } catch {}
  if (reply.status === 401) events.dispatchEvent(new Event("signin"));
  return new ApiError(reply.status, error, reply.headers);
}

export async function call(method, path, options) {
  return (await send(method, path, options)).json();
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { body, ...options });
export const response = send;

// Returns all items of a list, page by page, up to `most`.
export async function all(path, values = {}, most = 1000, options = {}) {
  const items = [];
  let after;
  while (items.length < most) {
    const limit = Math.min(100, most - items.length);
    const page = await get(path + query({ ...values, limit, after }), options);
    items.push(...page.data);
    if (!page.has_more || !page.data.length) break;
    after = page.data[page.data.length - 1].id;
  }
  return items;
}

// Calls `onEvent({type, id, data})` for each server-sent event until the reply ends.
export async function stream(method, path, options, onEvent) {
  const reply = await send(method, path, options);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(lost);  // an error of `onEvent` is not a lost connection
      if (done) return;
      buffer += value;
      let end;
      let begin = 0;
      while ((end = buffer.indexOf("\n\n", begin)) >= 0) {
        const event = parse(buffer.slice(begin, end));
        begin = end + 2;
        if (event) onEvent(event);
      }
      buffer = buffer.slice(begin);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(text) {
  const event = { type: "", id: "", data: "" };
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const name = line.slice(0, colon);
    if (name === "data") event.data += value;
    else if (name === "event") event.type = value;
    else if (name === "id") event.id = value;
  }
  return event.data ? event : null;
}

// Uploads a file and reports its progress from 0 to 1. Uses XMLHttpRequest, because fetch does not report the progress of uploads.
export function upload(file, fields, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const [name, value] of Object.entries({ purpose: "fine-tune", ...fields })) form.append(name, value);
    form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    if (key()) request.setRequestHeader("authorization", `Bearer ${key()}`);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Unreachable());
    request.onload = () => {
      const body = (() => { try { return JSON.parse(request.responseText); } catch { return {}; } })();
      if (request.status === 200) return resolve(body);
      if (request.status === 401) events.dispatchEvent(new Event("signin"));
      reject(new ApiError(request.status, body.error || {}, { get: (name) => request.getResponseHeader(name) }));
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

// Saves a file from the API on the user's disk. A plain link could not send the key.
export async function save(path, name) {
  const blob = await (await send("GET", path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Reads the metrics of the service, and keeps recent values while the page is open.

import { response } from "./api.js";

const KEPT = 600;  // samples
export const EVERY = 2000;  // milliseconds
const LINE = /^(\w+)(?:\{(.*)\})? ([^ ]+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export const samples = [];

export function parse(text) {
  const series = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("#") || line.includes("_created")) continue;
    const match = LINE.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] || "").matchAll(LABEL)) labels[name] = value.replace(/\\(.)/g, "$1");
    series.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return series;
}

export async function sample(signal) {
  const text = await (await response("GET", "/metrics", { signal })).text();
  const time = Date.now() / 1000;
  samples.push({ time, ...figures(parse(text)) });
  if (samples.length > KEPT) samples.shift();
  return samples[samples.length - 1];
}

const NO_ANSWER = ["following", "dry_run"];  // a client that stops following a job, or repeats a check, does not wait for an answer any longer
const isModelRoute = (route) => !/^\/(v1\/(registry|files|fine_tuning|evaluations|uploads|engine|models|settings|traffic|queue|audit|webhook)|console|docs|redoc|openapi|metrics|livez|readyz|health|ping|version|$)/.test(route);

function figures(series) {
  const sum = (name, test = () => true) => series.filter((s) => s.name === name && test(s.labels)).reduce((total, s) => total + s.value, 0);
  const models = {};
  const of = (name) => (models[name] ||= { requests: 0, seconds: 0, running: 0, waiting: 0, tokens: 0, buckets: [] });
  for (const { name, labels, value } of series) {
    if (!labels.model_name) continue;
    if (name === "ostinato_e2e_request_latency_seconds_count") of(labels.model_name).requests = value;
    else if (name === "ostinato_e2e_request_latency_seconds_sum") of(labels.model_name).seconds = value;
    else if (name === "ostinato_e2e_request_latency_seconds_bucket") of(labels.model_name).buckets.push([Number(labels.le.replace("+Inf", "Infinity")), value]);
    else if (name === "ostinato_num_requests_running") of(labels.model_name).running = value;
    else if (name === "ostinato_num_requests_waiting") of(labels.model_name).waiting = value;
    else if (name === "ostinato_generation_tokens_total") of(labels.model_name).tokens = value;
  }
  const replies = (test) => sum("ostinato_http_requests_total", ({ route, status }) => isModelRoute(route) && test(Number(status)));
  return {
    models, replies: replies(() => true), refused: replies((status) => status === 429), faults: replies((status) => status >= 500),
    running: sum("ostinato_num_requests_running"), waiting: sum("ostinato_num_requests_waiting"),
    tokens: sum("ostinato_generation_tokens_total"), prompt: sum("ostinato_prompt_tokens_total"), cancelled: sum("ostinato_cancelled_total", ({ stage }) => !NO_ANSWER.includes(stage)), engines: sum("ostinato_engine_up"),
  };
}

// The increase of a counter per second, between consecutive samples. A restart of the service resets counters to zero.
export function rate(read) {
  return samples.slice(1).map((now, i) => {
    const grown = (read(now) || 0) - (read(samples[i]) || 0);
    return [now.time, Math.max(0, grown) / Math.max(0.1, now.time - samples[i].time)];
  });
}

// The upper bound of the histogram bucket that contains this quantile.
export function quantile({ buckets, requests }, share) {
  const level = [...buckets].sort((a, b) => a[0] - b[0]).find(([, count]) => count >= share * requests);
  return requests && level ? level[0] : null;
}

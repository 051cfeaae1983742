// Current traffic of the service: requests, latency, rejections, queue and tokens, by version.

import { Chart } from "../charts.js";
import { h, replace } from "../dom.js";
import { compact, number } from "../format.js";
import { card, empty, failure, header, stat, table } from "../parts.js";
import { EVERY, latency, quantile, rate, sample, samples } from "../metrics.js";
import { curl, python, shell, snippets } from "../snippets.js";
import { versionLink } from "./jobs.js";

const MOST_MODELS = 4;
const milliseconds = (value) => (value === null || value === undefined ? "–" : `${number(value, 3)} ms`);

export async function view({ signal }) {
  await sample(signal);
  const now = h("div", { class: "stats" });
  const total = h("div", { class: "stats" });
  const problem = h("div", { class: "slot" });
  const models = h("div", { class: "slot" });
  const charts = {
    requests: new Chart("Replies per second", { time: true }), latency: new Chart("Mean latency", { time: true, format: milliseconds, waiting: "No model request has completed since the page was opened." }),
    queue: new Chart("Current requests", { time: true }), tokens: new Chart("Tokens per second", { time: true }),
  };
  const draw = () => {
    replace(now, current());
    replace(total, totals());
    replace(models, byVersion());
    if (samples.length > 2) update(charts);
  };
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      await sample(signal);
      replace(problem);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") replace(problem, failure(error));
    }
  }, EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  draw();
  return [
    header("Traffic", "Traffic of the API process that serves this page, since the page was opened. Use Prometheus for long-term metrics."),
    problem, h("div", { class: "columns" }, card("Now", now), card("Since the process started", total)),
    h("div", { class: "columns" }, card("Replies per second", charts.requests.element), card("Mean latency by version", charts.latency.element), card("Current requests", charts.queue.element), card("Tokens per second", charts.tokens.element)),
    card("By version, since the process started", models),
    snippets({ curl: () => curl("GET", "/metrics"), python: () => python("GET", "/metrics").replace("reply.json()", "reply.text"), cli: () => shell("ostinato", "top") }),
  ];
}

function current() {
  const last = samples[samples.length - 1];
  const per = (series) => (series.length ? number(series[series.length - 1][1], 2) : "–");
  return [stat("Replies per second", per(rate((s) => s.replies))), stat("Running", number(last.running)), stat("Waiting", number(last.waiting)),
    stat("Tokens per second", per(rate((s) => s.tokens + s.prompt))), stat("Engines", number(last.engines))];
}

function totals() {
  const last = samples[samples.length - 1];
  return [stat("Replies", number(last.replies)), stat("Rejected (429)", number(last.refused)), stat("Errors (5xx)", number(last.faults)), stat("Cancelled", number(last.cancelled))];
}

const busiest = () => Object.entries(samples[samples.length - 1].models).sort((a, b) => b[1].requests - a[1].requests);

function update(charts) {
  charts.requests.update([{ name: "Replies", points: rate((s) => s.replies) }, { name: "Rejected", points: rate((s) => s.refused) }]);
  const lines = busiest().slice(0, MOST_MODELS).map(([name]) => ({ name, points: latency(name) })).filter((line) => line.points.length);
  if (lines.length) charts.latency.update(lines);
  charts.queue.update([{ name: "Running", points: samples.map((s) => [s.time, s.running]) }, { name: "Waiting", points: samples.map((s) => [s.time, s.waiting]) }]);
  charts.tokens.update([{ name: "Generated", points: rate((s) => s.tokens) }, { name: "Read", points: rate((s) => s.prompt) }]);
}

function byVersion() {
  const rows = busiest().map(([name, figures]) => ({ name, ...figures }));
  if (!rows.length) return empty("No model requests have been answered yet.");
  return table([
    { name: "Version", kind: "long", cell: (row) => versionLink(row.name) }, { name: "Requests", kind: "number", cell: (row) => compact(row.requests) },
    { name: "Mean", kind: "number", cell: (row) => milliseconds((row.seconds / Math.max(1, row.requests)) * 1000) },
    { name: "Median ≤", kind: "number", narrow: false, cell: (row) => within(row, 0.5) }, { name: "95th percentile ≤", kind: "number", narrow: false, cell: (row) => within(row, 0.95) },
    { name: "Tokens", kind: "number", narrow: false, cell: (row) => compact(row.tokens) }, { name: "Running", kind: "number", cell: (row) => number(row.running) },
  ], rows, { caption: "Requests of each version" });
}

const within = (row, share) => {
  const bound = quantile(row, share);
  return bound === null ? "–" : bound === Infinity ? "over 300 s" : milliseconds(bound * 1000);
};

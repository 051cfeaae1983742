// Traffic of the service in the last hour: requests, latency, refusals, queue and tokens, and the labels by version.

import { Chart } from "../charts.js";
import { h, replace } from "../dom.js";
import { compact, number, percent, phrase, title } from "../format.js";
import { byVersion, history, points, versionIn } from "../history.js";
import { card, empty, failure, field, header, select, stat, table } from "../parts.js";
import { EVERY, quantile, rate, sample, samples } from "../metrics.js";
import { curl, python, shell, snippets } from "../snippets.js";
import { versionLink } from "./jobs.js";

const MOST_MODELS = 4;
const MOST_LABELS = 4;
const LEAST_SECONDS = 120;  // on the axis of a plot
const REST = "other labels";
const REASONS = {
  max_waiting: "Too many waiting requests", max_waiting_tokens: "Too many waiting tokens", long_inputs: "Too many long inputs being read",
  quota_requests: "Quota of requests per minute", quota_tokens: "Quota of tokens per minute", quota_bytes: "Quota of stored bytes", quota_queued: "Quota of queued jobs", quota_priority: "Priority not allowed",
};
const milliseconds = (value, format = (each) => number(each, 3)) => (value === null || value === undefined ? "–" : `${format(value)}\u202fms`);
const fixed = (value) => (value < 100 ? value.toFixed(1) : number(Math.round(value)));  // the same digits as in the plots

export async function view({ signal }) {
  const page = new TrafficPage(signal);
  await page.look();
  const timer = setInterval(() => document.hidden || page.look(), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  return page.element;
}

class TrafficPage {
  constructor(signal) {
    this.signal = signal;
    [this.problem, this.models, this.mix, this.refusals] = [0, 1, 2, 3].map(() => h("div", { class: "slot" }));
    [this.now, this.total] = [0, 1].map(() => h("div", { class: "stats" }));
    const waiting = "No model request was answered in the last hour.";
    this.charts = {
      requests: new Chart("Replies per second", { time: true, waiting }), latency: new Chart("Mean latency", { time: true, format: (value) => milliseconds(value), waiting }),
      queue: new Chart("Current requests", { time: true, tick: (count) => (Number.isInteger(count) ? number(count) : ""), waiting }), tokens: new Chart("Tokens per second", { time: true, waiting }),
      labels: new Chart("Share of each label", { time: true, format: (share) => percent(share, 0), range: [0, 1], waiting }), confidence: new Chart("Mean confidence", { time: true, format: (share) => percent(share, 0), range: [0, 1], waiting }),
    };
    this.version = select([], "", () => this.drawLabels());
    this.labels = card("Labels by version", h("div", { class: "row" }, field("Version", this.version)), this.mix,
      h("div", { class: "columns" }, h("div", { class: "stack" }, h("h3", {}, "Share of each label"), this.charts.labels.element), h("div", { class: "stack" }, h("h3", {}, "Mean confidence"), this.charts.confidence.element)));
    this.operator = h("div", { class: "stack", style: { gap: "1.4rem" } },
      h("div", { class: "columns" }, card("Now", this.now), card("Since this API process started", this.total)), card("Refusals by reason", this.refusals));
    this.plots = [["Replies per second", "requests"], ["Current requests", "queue"], ["Tokens per second", "tokens"]].map(([name, key]) => card(name, this.charts[key].element));
    this.element = [
      header("Traffic", "The traffic of the last hour. Use Prometheus for long-term metrics."),
      this.problem, this.operator, h("div", { class: "columns" }, this.plots, card("Mean latency by version", this.charts.latency.element)), this.labels,
      this.processes = card("By version, since this API process started", this.models),
      snippets({ curl: () => [curl("GET", "/v1/traffic"), curl("GET", "/metrics")].join("\n"), python: () => python("GET", "/v1/traffic"), cli: () => shell("ostinato", "top") }),
    ];
  }

  // Reads the metrics of this process and, once in a period, the samples of all processes.
  async look() {
    try {
      if (!this.past || Date.now() / 1000 > this.readAt + this.past.seconds) await this.lookBack();
      if (this.past.complete) await sample(this.signal);
      replace(this.problem);
      this.draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.code !== "missing_scope" || !this.past) replace(this.problem, failure(error));
      this.hide();
    }
  }

  async lookBack() {
    this.past = await history(this.signal);
    this.readAt = Date.now() / 1000;
    this.drawPast();
  }

  // Without the scope operator, a key sees only its own versions.
  hide() {
    for (const part of [this.operator, this.processes, ...this.plots]) part.hidden = true;
  }

  draw() {
    if (!this.past.complete) return this.hide();
    const last = samples[samples.length - 1];
    const per = (read) => number(rate(read).at(-1)?.[1], 2);
    replace(this.now, stat("Replies per second", per((s) => s.replies)), stat("Running", number(last.running)), stat("Waiting", number(last.waiting)),
      stat("Tokens per second", per((s) => s.tokens + s.prompt), "read and generated"), stat("Engines", number(last.engines)));
    replace(this.total, stat("Replies", number(last.replies)), stat("Refused (429)", number(last.refused)), stat("Errors (5xx)", number(last.faults)), stat("Cancelled", number(last.cancelled), "by clients that left"));
    replace(this.models, processTable());
  }

  drawPast() {
    const { past, charts } = this;
    const [begin, end] = [past.data[0]?.at, past.data.at(-1)?.at];
    this.span = begin === undefined ? null : [Math.min(begin, end - LEAST_SECONDS), end];
    const busiest = byVersion(past);
    const per = (name) => points(past, ({ totals }) => (totals ? totals[name] / past.seconds : null));
    if (past.data.length && past.complete) {
      charts.requests.update([{ name: "Replies", points: per("replies") }, { name: "Refused", points: per("rejected") }], this.span);
      charts.queue.update([["Running", "running"], ["Waiting", "waiting"]].map(([name, key]) => ({ name, points: points(past, ({ totals }) => totals[key]) })), this.span);
      charts.tokens.update([{ name: "Generated", points: per("generated_tokens") }, { name: "Read", points: per("read_tokens") }], this.span);
    }
    const lines = busiest.slice(0, MOST_MODELS).map(({ id }) => ({ name: id, points: points(past, (s) => meanLatency(versionIn(s, id))) }));
    if (lines.length) charts.latency.update(lines, this.span);
    replace(this.refusals, refusals(past));
    const classified = busiest.filter((v) => v.texts);
    const chosen = this.version.value || classified[0]?.id || "";
    replace(this.version, classified.map((v) => h("option", { value: v.id }, v.id)));
    this.version.value = classified.some((v) => v.id === chosen) ? chosen : classified[0]?.id || "";
    this.version.closest(".row").hidden = !classified.length;
    this.drawLabels();
  }

  drawLabels() {
    const id = this.version.value;
    const sum = byVersion(this.past).find((v) => v.id === id);
    if (!sum) return replace(this.mix);
    const labels = Object.entries(sum.labels).sort((a, b) => b[1] - a[1]).map(([label]) => label);
    const shown = labels.slice(0, labels.length > MOST_LABELS ? MOST_LABELS - 1 : MOST_LABELS);
    const share = (read) => points(this.past, (s) => { const v = versionIn(s, id); return v?.texts ? read(v) / v.texts : null; });
    const rest = (v) => v.other_labels + labels.slice(shown.length).reduce((total, label) => total + (v.labels[label] || 0), 0);
    const lines = shown.map((label) => ({ name: label, points: share((v) => v.labels[label] || 0) }));
    if (labels.length > shown.length || sum.others) lines.push({ name: REST, points: share(rest) });
    replace(this.mix, h("p", { class: "muted" }, `${number(sum.texts)} ${sum.texts === 1 ? "input" : "inputs"} in the last hour${sum.confidence ? `, with a mean confidence of ${percent(sum.confidence / sum.texts)}` : ". The version predicts numbers, which have no labels"}.`));
    if (!sum.confidence) return;
    this.charts.labels.update(lines, this.span);
    this.charts.confidence.update([{ name: id, points: points(this.past, (s) => versionIn(s, id)?.confidence ?? null) }], this.span);
  }
}

const meanLatency = (v) => (v?.requests ? (v.seconds / v.requests) * 1000 : null);

function refusals({ data }) {
  const reasons = {};
  for (const { totals } of data)
    for (const [reason, count] of Object.entries(totals?.reasons || {})) reasons[reason] = (reasons[reason] || 0) + count;
  const rows = Object.entries(reasons).sort((a, b) => b[1] - a[1]);
  return rows.length ? table([{ name: "Reason", kind: "long", cell: ([reason]) => REASONS[reason] || title(phrase(reason)) }, { name: "Refused in the last hour", kind: "number", cell: ([, count]) => number(count) }], rows, { caption: "Refusals by reason" })
    : h("p", { class: "muted" }, "No request was refused in the last hour.");
}

function processTable() {
  const rows = Object.entries(samples[samples.length - 1].models).sort((a, b) => b[1].requests - a[1].requests).map(([name, figures]) => ({ name, ...figures }));
  if (!rows.length) return empty("No model requests have been answered yet.");
  return table([
    { name: "Version", kind: "long", cell: (row) => versionLink(row.name) }, { name: "Requests", kind: "number", cell: (row) => compact(row.requests) },
    { name: "Mean latency", kind: "number", cell: (row) => milliseconds((row.seconds / Math.max(1, row.requests)) * 1000, fixed) },
    { name: "Median ≤", kind: "number", cell: (row) => within(row, 0.5) }, { name: "95th percentile ≤", kind: "number", cell: (row) => within(row, 0.95) },
    { name: "Generated tokens", kind: "number", cell: (row) => compact(row.tokens) }, { name: "Running", kind: "number", cell: (row) => number(row.running) },
  ], rows, { caption: "Requests of each version" });
}

const within = (row, share) => {
  const bound = quantile(row, share);
  return bound === null ? "–" : bound === Infinity ? "over 300 s" : milliseconds(bound * 1000);
};

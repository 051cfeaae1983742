// The page of a training job: live curves, log, checkpoints, trials and outcome.

import { get, post, stream } from "../api.js";
import { Chart } from "../charts.js";
import { Curves } from "../curves.js";
import { lengthBars, labelBars } from "../datareport.js";
import { announce, h, replace } from "../dom.js";
import { architecture, clock, compact, duration, moment, number, percent, phrase, title } from "../format.js";
import { watchHealth } from "../health.js";
import { action, card, empty, facts, header, later, link, progress, stat, status, table, when } from "../parts.js";
import { flat } from "../options.js";
import { promotion } from "../promotion.js";
import { show as showFigure, tooFew, verdict } from "../quality.js";
import { curl, openai, shell, snippets } from "../snippets.js";
import { checkpointList, twinOf } from "../training/outcome.js";
import { ENDED, jobName, trainedFrom, versionLink, versionPlace } from "./jobs.js";

const RETRY = 1500;
const POINTS = 500; // number of past points of a curve: about one for every two pixels

export async function view({ parameters: [id], signal }) {
  const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}`;
  const job = await get(path, { signal });
  const page = new JobPage(path, job, signal);
  page.follow();
  watchHealth(signal, (report) => page.reportHealth(report));
  return page.element;
}

// The name of the job's file, as a link that starts a new training job on it.
function trainingFile(job, signal) {
  const name = h("span", {}, job.training_file);
  get(`/v1/files/${job.training_file}`, { signal }).then((file) => replace(name, link(file.filename, `#/train?file=${file.id}`))).catch(() => {});
  return name;
}

class JobPage {
  constructor(path, job, signal) {
    Object.assign(this, { path, job, signal, curves: new Curves(), baseline: {}, lost: {}, settled: {}, last: "" });
    this.conflict = h("div", { class: "slot" });
    this.file = trainingFile(job, signal);
    this.top = h("div", { class: "stack" });
    this.health = h("div", { class: "slot" });
    this.log = h("ol", { class: "log", tabindex: "0", "aria-label": "Job log" });
    this.data = h("div", { class: "slot" });
    this.trials = h("div", { class: "slot" });
    this.loss = new Chart("Loss", { format: (value) => (Math.abs(value) < 1000 ? value.toFixed(4) : number(value)), tick: (value) => number(value) });
    this.quality = new Chart("Metrics", { format: (value) => (this.curves.alone() ? number(value) : percent(value)),
      tick: (value, step) => (this.curves.alone() ? number(value) : percent(value, step < 0.01 ? 1 : 0)) });
    this.plots = h("div", { class: "columns" }, card("Loss", this.loss.element), card("Quality", this.quality.element));
    this.noPlots = h("div", { class: "slot" });
    this.element = h("div", { class: "stack", style: { gap: "1.4rem" } }, this.top, this.conflict, this.health, this.trials, this.noPlots, this.plots,
      h("div", { class: "columns" }, card("Log", this.log), this.checkpoints = h("section", { class: "card" })), this.data, this.settings = h("section", { class: "card" }), this.lines());
    this.plots.hidden = true;
    this.draw();
  }

  // Follows the job's events. After an interruption, continues after the last received event.
  async follow() {
    while (!this.signal.aborted) {
      try {
        const headers = this.last ? { "last-event-id": this.last } : {};
        await stream("GET", `${this.path}/events?stream=true&points=${POINTS}`, { signal: this.signal, headers }, (event) => this.receive(event));
        if (ENDED.includes(this.job.status)) return;
      } catch (error) {
        if (error.name === "AbortError") return;
        if (error.status && error.status < 500 && error.status !== 429) return this.note({ level: "error", message: error.message, created_at: Date.now() / 1000 });
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  receive({ type, id, data }) {
    if (data === "[DONE]") return;
    const value = JSON.parse(data);
    if (type === "job") {
      this.job = value;
      this.soon();
      return;
    }
    this.last = id || this.last;
    if (value.type === "metrics") this.curves.add(value.data);
    else this.note(value);
    if (value.data?.length_histogram) this.report = value.data;
    if (value.data?.splits) this.baseline = value.data.splits;
    if (value.data?.optimizer && value.data.model) this.settled = value.data;
    if (value.data?.lost_attempt) this.lost = value.data;
    this.soon();
  }

  note({ level, message, created_at }) {
    const item = h("li", { class: level }, h("time", { datetime: new Date(created_at * 1000).toISOString(), title: moment(created_at) }, clock(created_at)), h("span", {}, message));
    const following = this.log.scrollTop + this.log.clientHeight > this.log.scrollHeight - 40;
    this.log.append(item);
    if (following) this.log.scrollTop = this.log.scrollHeight;
  }

  // Redraws only a few times per second, regardless of how fast events arrive.
  soon() {
    if (this.waiting) return;
    this.waiting = setTimeout(() => { this.waiting = 0; if (!this.signal.aborted) this.draw(); }, 250);
  }

  // Shows that no engine is running: no version can be tried, but the training run does not need an engine.
  reportHealth({ checks = {} }) {
    const [database, engine] = [checks.database ?? "ok", checks.engine ?? "ok"].map((state) => state !== "ok");
    const away = (database || engine) && !ENDED.includes(this.job.status);
    if (!away && this.health.firstChild) announce("The service answers model requests again.");
    replace(this.health, away ? h("div", { class: "notice warn", role: "status" }, h("strong", {}, database ? "The database does not respond" : "No engine is running"),
      h("p", {}, database ? "This page continues when the database responds again." : "Model requests will be answered when an engine has started again. Training does not need an engine, so this job continues.")) : null);
  }

  draw() {
    const { job } = this;
    replace(this.top, this.header(), job.error ? h("div", { class: "notice bad", role: "alert" }, h("strong", {}, `Failed${this.took()}: ${job.error.code}`), h("p", {}, job.error.message)) : null, this.state());
    replace(this.trials, job.trials.length || job.model === "auto" ? this.trialsCard() : null);
    replace(this.settings, h("h2", {}, "Settings"), this.facts());
    if (this.curves.steps) {
      this.noPlots.hidden = true;
      this.plots.hidden = false;
      this.loss.update(this.curves.losses());
      const quality = [...this.curves.metrics(), ...this.baselineLevels()];
      this.quality.element.closest(".card").hidden = !quality.length;
      this.quality.yName = this.curves.alone() ? title(this.curves.alone()) : quality.some(({ name }) => / F1$/.test(name)) ? "Accuracy and F1" : "Accuracy";
      this.quality.update(quality);
    } else {
      this.noPlots.hidden = job.model === "auto";
      replace(this.noPlots, empty(ENDED.includes(job.status) ? "The job ended before its first step." : "The curves appear after the first steps."));
    }
    if (this.report && !this.data.firstChild) replace(this.data, card("Data", h("div", { class: "columns" }, labelBars(this.report.labels), lengthBars(this.report.length_histogram))));
    if (ENDED.includes(job.status) || this.curves.steps !== this.drawnSteps) this.drawCheckpoints();
  }

  baselineLevels() {
    const figures = this.baseline.validation || {};
    if (tooFew(figures.rows)) return [];
    const name = ["accuracy", "bits_per_character", "r2", "macro_f1", "micro_f1"].find((key) => typeof figures[key] === "number" && this.curves.shows(key));
    return name ? [{ name: `Baseline ${phrase(name)}`, level: figures[name] }] : [];
  }

  header() {
    const { job } = this;
    const run = (name) => async () => { this.job = await post(`${this.path}/${name}`); this.draw(); };
    const open = !ENDED.includes(job.status);
    const buttons = [
      ["queued", "running", "validating_files"].includes(job.status) && !job.parent_id ? action("Pause", run("pause")) : null,
      job.status === "paused" ? action("Resume", run("resume"), "primary") : null,
      open ? action("Cancel", async () => { if (confirm("Cancel this job? No version will be published.")) await run("cancel")(); }, "danger") : null,
      open || job.parent_id ? null : h("a", { class: "button", href: `#/train?again=${job.id}` }, "Train on this file again"),
      job.fine_tuned_model ? h("a", { class: "button", href: versionPlace(job.fine_tuned_model) }, job.task === "classification" ? "Metrics and confusions" : "Metrics") : null,
      job.fine_tuned_model ? this.promotion() : null,
      job.fine_tuned_model ? h("a", { class: "button primary", href: `#/play?model=${encodeURIComponent(job.fine_tuned_model)}` }, "Try it") : null,
    ].filter(Boolean);
    return header(jobName(job), h("span", { class: "row" }, status(job.status), h("span", { class: "mono small" }, job.id), job.parent_id ? link("trial of an auto job", `#/jobs/${job.parent_id}`) : null), ...buttons);
  }

  // Offers to move the alias of the model to the new version. The same element is shown after each update of the page.
  promotion() {
    return (this.promoted ||= promotion(this.job.fine_tuned_model, this.conflict, this.signal));
  }

  // Says that the new version repeats an earlier one.
  repetition() {
    return (this.repeated ||= later(twinOf(this.job.fine_tuned_model, this.signal).catch(() => null), (twin) => (twin ? h("p", { class: "notice warn" }, h("span", {}, "This version has the same weights as ", versionLink(twin.id),
      ". The same data, options and seed produce the same weights. For a different result, change one of them.")) : null), null));
  }

  state() {
    const { job } = this;
    if (job.status === "succeeded") return [h("p", { class: "notice good" }, h("span", {}, "Published as ", versionLink(job.fine_tuned_model), this.took() && ",", `${this.took()}.`), job.reason && !job.trials.length ? h("p", {}, job.reason) : null), this.repetition()];
    if (job.status === "queued") return this.queue();
    if (job.status === "cancelled") return h("p", { class: "notice" }, `Cancelled${this.took()}${this.curves.steps ? `, at step ${number(this.curves.steps)}` : ""}. No version was published.`);
    if (job.status === "paused") return h("p", { class: "notice warn" }, "Paused. If you resume the job, it continues at the same step, and its result does not change.");
    if (!["running", "validating_files"].includes(job.status)) return null;
    const left = job.estimated_finish ? job.estimated_finish - Date.now() / 1000 : null;
    return h("section", { class: "card", "aria-label": "Progress" }, progress(job.progress, "Progress"), h("div", { class: "stats" },
      stat("Done", percent(job.progress, 0)), stat("Phase", title(job.phase)), stat("Step", number(this.curves.steps)),
      left !== null ? stat("Time left", left > 0 ? duration(left) : "a moment", "at most") : null, this.lost.lost_attempt ? stat("Attempt", job.attempt) : null), this.lost.lost_attempt === job.attempt - 1 ? h("p", { class: "small muted" }, this.describeLoss()) : null);
  }

  took() {
    const { started_at: started, finished_at: ended } = this.job;
    return started && ended ? ` ${duration(ended - started)} after the start` : "";
  }

  describeLoss() { return `Attempt ${this.lost.lost_attempt} ended: ${this.lost.reason}.`; }

  queue() {
    const { job } = this;
    const place = job.jobs_before ? `${job.jobs_before} ${job.jobs_before === 1 ? "job is" : "jobs are"} ahead.` : "first in the queue.";
    if (!job.attempt) return h("p", { class: "notice" }, `Waiting for a worker; ${place}`);
    const next = `The job continues as soon as a worker is free; ${place}`;
    return this.lost.lost_attempt === job.attempt ? h("div", { class: "notice warn", role: "status" }, h("strong", {}, this.describeLoss()), h("p", {}, next)) : h("p", { class: "notice" }, next);
  }

  trialsCard() {
    const rows = this.job.trials;
    const names = [...new Set(rows.flatMap((row) => Object.keys(row.metrics)))].filter((name) => name !== "rows").slice(0, 2);
    const cell = (row, name) => (!(name in row.metrics) ? "–" : tooFew(row.metrics.rows) ? "too few rows" : showFigure(name, row.metrics[name]));
    const few = rows.map((row) => row.metrics.rows).find((count) => tooFew(count));
    return card("Trials", this.job.reason ? h("p", {}, this.job.reason) : null, few === undefined ? null : h("p", { class: "muted" }, `Validation on ${verdict(few)}.`), table([
      { name: "Architecture", cell: (row) => h("span", {}, link(architecture(row.model), `#/jobs/${row.id}`), row.chosen ? [" ", h("span", { class: "badge good" }, "chosen")] : null) },
      { name: "Status", cell: (row) => h("span", { class: "stack" }, h("span", {}, status(row.status)), row.status === "running" ? progress(row.progress, "Progress") : null) },
      ...names.map((name) => ({ name: title(name), kind: "number", cell: (row) => cell(row, name) })),
      { name: "Parameters", kind: "number", cell: (row) => compact(row.parameters) },
    ], rows, { caption: "Trials", blank: ENDED.includes(this.job.status) ? "The job ended before its first trial." : "Trials start after the data has been read." }));
  }

  facts() {
    const { job } = this;
    const chosen = Object.entries(flat(job.hyperparameters)).filter(([, value]) => value !== "auto").map(([name, value]) => [title(name), typeof value === "number" ? number(value) : String(value)]);
    return [facts([["Architecture", trainedFrom(job)], ["Task", job.task && title(job.task)], ["Created", when(job.created_at)], ["Started", job.started_at ? when(job.started_at) : null],
      ["Training file", this.file], ["Validation file", job.validation_file], ["Seed", String(job.seed)], ["Attempt", this.lost.lost_attempt ? job.attempt : null],
      ["Trained tokens", job.trained_tokens ? compact(job.trained_tokens) : null], ["Owner", job.organization_id]]),
      chosen.length ? h("details", { class: "more" }, h("summary", {}, "All options, as requested or chosen automatically"), facts(chosen)) : null];
  }

  async drawCheckpoints() {
    this.drawnSteps = this.curves.steps;
    const page = await get(`${this.path}/checkpoints?limit=20`, { signal: this.signal }).catch(() => null);
    if (!page) return;
    const ended = ENDED.includes(this.job.status);
    const blank = this.job.model === "auto" && (this.job.trials.length || !ended) ? "Each trial has its own checkpoints." : ended ? "No checkpoint was saved." : "The first checkpoint is saved after the first evaluation.";
    const { metric, model } = this.settled;
    replace(this.checkpoints, h("h2", {}, "Checkpoints"), checkpointList(page.data, { metric, linear: model?.architecture === "linear", blank }));
  }

  lines() {
    const id = this.job.id;
    return snippets({
      curl: () => [curl("GET", `${this.path}/events?stream=true`, null, " -N"), "# To pause, resume or cancel the job:", ...["pause", "resume", "cancel"].map((move) => inactive(curl("POST", `${this.path}/${move}`)))].join("\n"),
      openai: () => openai(`job = client.fine_tuning.jobs.retrieve("${id}")\nprint(job.status, job.fine_tuned_model)\nfor event in client.fine_tuning.jobs.list_events("${id}"):\n    print(event.message)\n# To pause, resume or cancel the job:\n${["pause", "resume", "cancel"].map((move) => `# client.fine_tuning.jobs.${move}("${id}")`).join("\n")}`),
      cli: () => [shell("ostinato", "jobs", "follow", id), "# To pause, resume or cancel the job:", ...["pause", "resume", "cancel"].map((move) => inactive(shell("ostinato", "jobs", move, id)))].join("\n"),
    });
  }
}

// A command as a comment, so that it is not run together with the others.
const inactive = (command) => command.split("\n").map((line) => `# ${line}`).join("\n");

// The parts of a version's page that depend on its evaluations, which the reader can start here.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { comparedVersions } from "../comparison.js";
import { figure, number, title } from "../format.js";
import { card, link, status, table, when } from "../parts.js";
import { metricsOf, splitOf, tooFew, verdict } from "../quality.js";
import { ENDED, versionLink } from "../views/jobs.js";
import { cellOf, confusion } from "./confusion.js";
import { evaluator, follow, present, progressBox } from "./evaluate.js";
import { evidence } from "./evidence.js";
import { mistakes } from "./mistakes.js";
import { rowsOf, warnings } from "./rows.js";

const MISTAKES = 10;
const RECENT = 50;

// `newest` returns the newest evaluation that lists mistakes, and `changed` is called after each evaluation.
export class Evaluated {
  constructor(version, base, data, signal) {
    Object.assign(this, { version, base, signal, evaluations: [], others: [], changed: () => {} });
    this.examples = h("section", { class: "card evidence", tabindex: "-1", "aria-live": "polite", "aria-label": "Examples" });
    [this.confusions, this.mistakes, this.table] = ["div", "div", "div"].map((tag) => h(tag, { class: "slot" }));
    this.progress = progressBox();
    this.controls = h("div", { class: "slot" }, evaluator(version, data, this.progress, signal, (evaluation) => this.finish(evaluation)));
    this.list = card("Evaluations on files", h("p", { class: "small muted" }, "Measures this version on rows of a file, and lists its worst mistakes."), this.controls, this.progress, this.table);
    this.fill().then(() => this.resume()).catch(() => {});  // the evaluations are only an addition to the page
  }

  async fill() {
    const [own, recent] = await Promise.all([get(`${this.base}/evaluations`, { signal: this.signal }), get(`/v1/evaluations?limit=${RECENT}`, { signal: this.signal })].map((page) => page.then(({ data }) => data, () => [])));
    if (this.signal.aborted) return;
    this.evaluations = own;
    this.others = recent.filter((each) => each.version === this.version.id && each.status !== "succeeded");
    replace(this.confusions, this.confusionCard());
    replace(this.mistakes, this.mistakesCard());
    replace(this.table, evaluationTable([...this.others, ...own].sort((a, b) => b.created_at - a.created_at)));
    this.changed();
  }

  newest() {
    return this.evaluations.find((each) => each.report?.mistakes);
  }

  // Follows the newest evaluation that has not ended. The reader may have started it earlier.
  async resume() {
    const started = this.others.find((each) => !ENDED.includes(each.status));
    if (started) await follow(started, this.progress, this.signal, (evaluation) => this.finish(evaluation));
  }

  // Shows the result, and leads the reader to it if the focus is still at the controls.
  async finish(evaluation) {
    const waiting = [document.body, this.progress].includes(document.activeElement) || this.controls.contains(document.activeElement);
    await this.fill();
    replace(this.progress, h("p", { class: "notice good" }, h("span", {}, link("Evaluation", `#/evaluations/${evaluation.id}`), ` on ${rowsOf(evaluation)} succeeded: ${resultOf(evaluation.report)}.`)));
    if (this.opened) await this.open(...this.opened);
    if (waiting) present(this.opened ? this.examples : this.progress);
  }

  // Leads to the controls that start an evaluation. If `start`, also starts the proposed one, if there is one.
  seek(start = false) {
    const run = this.controls.querySelector(".button.primary");
    if (start && run && !run.disabled) return run.click();
    present(this.controls.querySelector("select, button") || this.controls);
  }

  open(truth, predicted) {
    this.opened = [truth, predicted];
    const cell = cellOf(this.version.metrics[splitOf(this.version)], truth, predicted, `${splitOf(this.version)} rows of the training run`);
    return evidence(this.examples, this.evaluations, cell, this.signal, (start) => this.seek(start));
  }

  confusionCard() {
    const part = this.version.metrics?.[splitOf(this.version)];
    if (!part?.confusion_matrix) return null;
    return card("Confusions", confusion(Object.keys(part.per_class), part.confusion_matrix, (truth, predicted) => this.open(truth, predicted)),
      h("p", { class: "small muted" }, `Counts of the ${number(part.rows)} ${splitOf(this.version)} rows of the training run. Rows: true labels. Columns: predicted labels. `, this.evaluations.length ? "Select a cell to see examples from an evaluation." : "Select a cell, then evaluate the version to see examples."));
  }

  mistakesCard() {
    const evaluation = this.newest();
    if (!evaluation) return null;
    const more = evaluation.report.mistakes.length > MISTAKES ? " The evaluation lists more mistakes." : "";
    const thresholds = evaluation.report.thresholds ? " Under “Threshold for answers”, the figures of the newest evaluation describe the same rows and probabilities." : "";
    return card("Worst mistakes", warnings(evaluation), mistakes(evaluation.report.mistakes.slice(0, MISTAKES)), h("p", { class: "small muted" },
      "From ", link("the newest evaluation", `#/evaluations/${evaluation.id}`), ` on ${rowsOf(evaluation)}.${more}${this.version.task === "regression" ? "" : ` The probabilities are those that this version returns.${thresholds}`}`));
  }
}

const evaluationTable = (list) => table([
  { name: "File", kind: "long", cell: (e) => [link(e.filename, `#/evaluations/${e.id}`, { title: e.id }), e.report?.metrics.rows ? h("div", { class: "small muted" }, [number(e.report.metrics.rows), e.report.split, "rows"].filter(Boolean).join(" ")) : null] },
  { name: "Result", kind: "long", cell: (e) => [e.report?.comparison ? comparedVersions(e) : e.error?.message || resultOf(e.report), warnings(e)] },
  { name: "Against", cell: (e) => (e.against_version ? versionLink(e.against_version) : "–") },
  { name: "State", cell: (e) => status(e.status) }, { name: "Date", kind: "nowrap", cell: (e) => when(e.finished_at || e.created_at) },
], list, { caption: "Evaluations", blank: "Not evaluated on a file yet." });

function resultOf(report) {
  const metrics = report?.metrics || {};
  return tooFew(metrics.rows) ? verdict(metrics.rows) : metricsOf(metrics).slice(0, 2).map(([k, v]) => `${title(k)} ${figure(k, v)}`).join(", ") || "–";
}

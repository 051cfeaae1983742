// The check of a new training job: a dry run, which reports on the data and estimates the time.

import { post } from "../api.js";
import { dataPart, planPart } from "../datareport.js";
import { h, replace } from "../dom.js";
import { button, failure, progress } from "../parts.js";
import { roleTitle } from "../options.js";
import { choices, request } from "./request.js";

const BUSY = 5;  // seconds until the check is repeated, if the service does not say when

// Shows whether the choices have changed since the check.
export function compare(state, report) {
  report.querySelector(".outdated")?.remove();
  if (state.checked !== choices(state))
    report.prepend(h("p", { class: "notice warn outdated", role: "status" }, "The choices have changed since this check."));
}

// Checks the current choices. An earlier check is cancelled: the service stops a check whose client disconnects. While
// the service is busy with another one, the check waits and is then repeated.
export async function check(state, form, report) {
  state.checking?.abort();
  const checking = (state.checking = new AbortController());
  const signal = AbortSignal.any([state.signal, checking.signal]);
  state.checked = choices(state);
  form.busy(true);
  try {
    const estimate = await dryRun(state, report, signal);
    form.columns.detected(estimate);
    form.options.chosen(estimate.plans.length === 1 ? estimate.plans[0].choices : []);
    replace(report, h("div", { class: "stack" }, dataPart(estimate), planPart(estimate)));
    compare(state, report);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    const role = error.param?.match(/^columns\.(\w+)$/)?.[1] || "";
    form.columns.refused(role);
    replace(report, role ? refusal(inWords(error)) : failure(inWords(error), () => check(state, form, report)));
  } finally {
    if (state.checking === checking) form.busy(false);
  }
}

async function dryRun(state, report, signal) {
  for (;;) {
    const stop = showWork(report);
    try {
      return await post("/v1/fine_tuning/jobs?dry_run=true", request(state), { signal });
    } catch (error) {
      if (error.code !== "dry_run_busy") throw error;
      await turn(report, error.retryAfter || BUSY, signal);
    } finally {
      stop();
    }
  }
}

const SECOND = 1000;
const inSeconds = (count) => `${count}\u202fs`;

// Shows how long the check has been running. Returns a function that ends this.
function showWork(report) {
  const began = performance.now();
  const spent = h("span", { "aria-hidden": "true" });
  replace(report, h("p", { class: "loading" }, h("span", { role: "status" }, "Reading the data, and timing a few steps of each training run. This takes ten seconds to a minute. You can start the training without waiting."), " ", spent),
    progress(null, "Checking"));
  const timer = setInterval(() => replace(spent, inSeconds(Math.round((performance.now() - began) / SECOND)), " so far."), SECOND);
  return () => clearInterval(timer);
}

// Waits until the service may be free for this check, or until the reader does not want to wait any longer.
function turn(report, seconds, signal) {
  return new Promise((resolve, reject) => {
    let left = seconds;
    const end = (action, value) => { clearInterval(timer); action(value); };
    const shown = h("span", { "aria-hidden": "true" });
    const show = () => replace(shown, `in ${inSeconds(left)}`);
    const timer = setInterval(() => ((left -= 1) > 0 ? show() : end(resolve)), SECOND);
    signal.addEventListener("abort", () => end(reject, new DOMException("", "AbortError")));
    show();
    replace(report, h("div", { class: "notice warn" }, h("strong", { role: "status" }, "The service is busy with another check"),
      h("p", {}, "It runs one check at a time. This page tries again ", shown, ". You can start the training without a check."), button("Try now", () => end(resolve), "small")));
  });
}

// An error whose message names the fields of this page instead of those of the request.
function inWords(error) {
  error.message = error.message.replace(/\bcolumns\.(\w+)/g, (_, role) => `“${roleTitle(role)}” in step 2`);
  return error;
}

// A column that was refused. The reader chooses another one in step 2, where its field is marked.
const refusal = ({ message }) => h("div", { class: "notice warn", role: "alert" }, h("strong", {}, "Check the columns"), h("p", {}, message));

// The check of a new training job: a dry run, which reports on the data and estimates the time.

import { ApiError, Unreachable, stream } from "../api.js";
import { dataPart, planPart } from "../datareport.js";
import { h, replace } from "../dom.js";
import { button, failure, progress } from "../parts.js";
import { roleTitle } from "../options.js";
import { choices, request } from "./request.js";

const REFUSED = [400, 422];  // the status of a reply that refuses the file or the choices
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
  form.block(false);
  try {
    const parts = { data: h("div", { class: "stack" }), plan: h("div", { class: "stack" }) };
    const estimate = await dryRun(state, report, signal, parts, (read) => {
      form.columns.detected(read);
      replace(parts.data, dataPart(read));
    });
    form.options.chosen(estimate.plans.length === 1 ? estimate.plans[0].choices : []);
    replace(parts.plan, planPart(estimate));
    compare(state, report);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    const role = error.param?.match(/^columns\.(\w+)$/)?.[1] || "";
    form.columns.refused(role);
    form.block(REFUSED.includes(error.status));
    replace(report, role ? refusal(inWords(error)) : failure(inWords(error), () => check(state, form, report)));
  } finally {
    if (state.checking === checking) form.busy(false);
  }
}

// Returns the estimate. Calls `show` with the report on the data as soon as the service has read the data.
async function dryRun(state, report, signal, parts, show) {
  for (;;) {
    replace(report, parts.data, parts.plan);
    const [stop, next] = showWork(parts.plan);
    try {
      return await read(state, signal, (value) => { show(value); next(); });
    } catch (error) {
      if (error.code !== "dry_run_busy") throw error;
      await turn(report, error.retryAfter || BUSY, signal);
    } finally {
      stop();
    }
  }
}

async function read(state, signal, show) {
  let estimate = null;
  await stream("POST", "/v1/fine_tuning/jobs?dry_run=true&stream=true", { body: request(state), signal }, ({ type, data }) => {
    if (data === "[DONE]") return;
    const value = JSON.parse(data);
    if (value.error) throw new ApiError(500, value.error);
    if (type === "estimate") estimate = value;
    show(value);
  });
  if (!estimate) throw new Unreachable();  // the service ended during the check
  return estimate;
}

const SECOND = 1000;
const inSeconds = (count) => `${count}\u202fs`;

// Shows what the check does, and how long it has been running. Returns functions that end this, and that show its second part.
function showWork(box) {
  const began = performance.now();
  const spent = h("span", { "aria-hidden": "true" });
  const words = h("span", { role: "status" }, "Reading the data…");
  replace(box, h("p", { class: "loading" }, words, " ", spent), progress(null, "Checking"));
  const next = () => replace(words, "Timing a few steps of each training run, which takes ten seconds to a minute. You can start the training without waiting.");
  const timer = setInterval(() => replace(spent, inSeconds(Math.round((performance.now() - began) / SECOND)), " so far."), SECOND);
  return [() => clearInterval(timer), next];
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

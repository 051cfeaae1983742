// Watches whether the service can answer model requests.

const EVERY = 3000;  // milliseconds

// /readyz answers 503 with the reasons. Here, this reply is data, not an error.
async function readiness(signal) {
  const reply = await fetch("/readyz", { signal, cache: "no-store" });
  return reply.json();
}

// Calls `changed({status, checks})` at the start and after every change, while the page is visible.
export async function watchHealth(signal, changed) {
  let shown = "";
  while (!signal.aborted) {
    const report = document.hidden && shown ? null : await readiness(signal).catch(() => null);
    const state = JSON.stringify(report);
    if (report && state !== shown && !signal.aborted) {
      shown = state;
      changed(report);
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

export const problems = ({ checks }) => Object.entries(checks || {}).filter(([, state]) => state !== "ok").map(([name, state]) => `${name}: ${state}`);

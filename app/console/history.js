// The traffic of the last hour, from the samples of the API processes.

import { get } from "./api.js";

export const NOTHING = { replies: 0, rejected: 0, errors: 0, read_tokens: 0, generated_tokens: 0, running: 0, waiting: 0, reasons: {} };

// Returns {seconds, data}, in which each period has an entry. Periods without traffic are not in the reply.
export async function history(signal) {
  const { seconds, data } = await get("/v1/traffic", { signal });
  if (!data.length) return { seconds, data, complete: true };
  const known = new Map(data.map((sample) => [sample.at, sample]));
  const complete = data.every((sample) => sample.totals);
  const last = Math.max(data[data.length - 1].at, Math.floor(Date.now() / 1000 / seconds - 2) * seconds);
  const whole = [];
  for (let at = data[0].at - seconds; at <= last; at += seconds)
    whole.push(known.get(at) || { at, totals: NOTHING, versions: [] });
  return { seconds, data: whole, complete };
}

// The points of a curve: one for each period. `read(sample)` returns null for a period without a value.
export const points = ({ data }, read) => data.map((sample) => [sample.at, read(sample)]).filter(([, value]) => value !== null);

// The versions with their sums over the hour, the busiest first.
export function byVersion({ data }) {
  const sums = new Map();
  for (const { versions } of data)
    for (const v of versions) {
      const sum = sums.get(v.id) || { id: v.id, requests: 0, texts: 0, confidence: 0, labels: {}, others: 0 };
      sums.set(v.id, sum);
      sum.requests += v.requests;
      sum.texts += v.texts;
      sum.confidence += (v.confidence || 0) * v.texts;
      sum.others += v.other_labels;
      for (const [label, count] of Object.entries(v.labels)) sum.labels[label] = (sum.labels[label] || 0) + count;
    }
  return [...sums.values()].sort((a, b) => b.requests - a.requests);
}

export const versionIn = (sample, id) => sample.versions.find((v) => v.id === id);

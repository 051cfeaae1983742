// The request for a new training job, and code that sends the same request.

import { flat } from "../options.js";
import { args, columnFlags, curl, flags, openai, shell, snippets } from "../snippets.js";

const some = (values) => (Object.keys(values).length ? values : undefined);

export function request({ model, file, name, task, columns, alias, request: own, training }) {
  return {
    model, training_file: file.id, suffix: name || undefined, task: task || undefined, columns: some(columns),
    publish: alias ? { alias } : undefined, ...own, training: some(training),
  };
}

// The choices on which a check depends.
export const choices = (state) => JSON.stringify({ ...request(state), suffix: null, publish: null });

export function lines(state) {
  return snippets({
    curl: () => curl("POST", "/v1/fine_tuning/jobs", request(state)),
    openai: () => {
      const { model, training_file, validation_file, suffix, seed, ...extra } = request(state);
      return openai(`job = client.fine_tuning.jobs.create${args({ model, training_file, validation_file, suffix, seed }, extra)}\nprint(job.id)`);
    },
    cli: () => {
      const { model, training_file, suffix: name, task, columns, publish, training, ...own } = request(state);
      return shell("ostinato", "train", training_file, ...flags({ model, name, alias: publish?.alias, task, ...own, ...columnFlags(columns), ...flat(training) }));
    },
  });
}

// The choices that determine the weights, in a fixed order.
const decisive = (state) => JSON.stringify(request({ ...state, name: "", alias: "" }), (_, value) => (
  value && typeof value === "object" && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value));

// Whether the job would train the same weights as the earlier one, whose choices are in `given`.
export function repeats(state, given) {
  if (!given.job || given.request.seed === undefined || state.training.max_seconds || state.training.deterministic === false) return false;
  return decisive(state) === decisive({ ...given, file: { id: given.file } });
}

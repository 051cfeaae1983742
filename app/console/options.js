// The training options, with a description of each and of its default.

export const ARCHITECTURES = [
  ["auto", "auto – the best of several"], ["linear", "linear – n-grams only; trains in seconds"], ["gru", "GRU"],
  ["lstm", "LSTM"], ["transformer", "Transformer"], ["rnn", "RNN"],
];
export const TASKS = [
  ["", "Detect from the data"], ["classification", "Classification: one label per row"],
  ["multilabel", "Multilabel: several labels per row"], ["regression", "Regression: one number per row"],
  ["generation", "Generation: continue a text"],
];
export const ROLES = [
  ["text", "Text"], ["label", "Label"], ["text_pair", "Second text of a pair"], ["value", "Number to predict"],
  ["split", "Split: train, val, test"], ["features", "Numeric features"], ["series", "Series"], ["time", "Time"],
];

const choice = (...values) => ["", ...values];
// [name, title, kind, description of the default]
export const OPTIONS = [
  ["Duration", [
    ["epochs", "Epochs", "number", "Passes over the data. Small data sets get more epochs; training stops when the results no longer improve."],
    ["max_steps", "Maximum steps", "whole", "If empty, the number of epochs determines the length."],
    ["max_seconds", "Maximum seconds", "number", "With a time limit, the result depends on the speed of the machine."],
    ["patience", "Patience", "whole", "Number of evaluations without improvement before training stops."],
  ]],
  ["Network", [
    ["layers", "Layers", "whole", "Chosen according to the size of the data."],
    ["width", "Width", "whole", "Size of the hidden vectors, chosen according to the size of the data."],
    ["context_length", "Context length", "whole", "Longer texts are truncated. Chosen so that few texts are affected."],
    ["dropout", "Dropout", "number", "Higher for small data sets."],
    ["tokenizer", "Tokenizer", choice("bpe", "char", "byte"), "BPE, or characters for small data sets."],
    ["vocab_size", "Vocabulary", "whole", "Maximum number of tokens in a new tokenizer."],
    ["ngrams", "N-gram branch", choice("true", "false"), "On by default for texts. Improves results on small data sets."],
  ]],
  ["Optimiser", [
    ["learning_rate", "Learning rate", "number", "Chosen according to the architecture and the width."],
    ["batch_size", "Batch size", "whole", "Examples per step."],
    ["optimizer", "Optimiser", choice("adamw", "muon", "sgd"), "Set by the recipe."],
    ["schedule", "Schedule", choice("cosine", "linear", "constant", "plateau"), "The schedule of the learning rate."],
    ["weight_decay", "Weight decay", "number", "Set by the recipe."],
    ["label_smoothing", "Label smoothing", "number", "Useful if labels contradict each other."],
    ["class_weights", "Class weights", choice("balanced"), "By default, all rows have the same weight."],
  ]],
  ["Data", [
    ["skip_bad_rows", "Maximum share of dropped rows", "number", "Maximum share of unusable rows to skip, from 0 to 1. With 0, any unusable row fails the job."],
    ["encoding", "Encoding", "text", "Detected by default. Examples: utf-8, cp1252."],
    ["baseline", "Compare with a simple model", choice("true", "false"), "On by default. Shows how much the network improves on a simple model."],
  ]],
];

export function read(name, kind, text) {
  if (text === "") return undefined;
  if (text === "true" || text === "false") return text === "true";
  return kind === "number" || kind === "whole" ? Number(text) : text;
}

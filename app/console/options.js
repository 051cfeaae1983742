// The training options: what each does, and what happens without it.

export const ARCHITECTURES = [
  ["auto", "auto – try several, keep the best"], ["linear", "linear – n-grams only, seconds"], ["gru", "GRU"],
  ["lstm", "LSTM"], ["transformer", "Transformer"], ["rnn", "RNN"],
];
export const TASKS = [
  ["", "Detect from the data"], ["classification", "Classification: one label a row"],
  ["multilabel", "Multilabel: several labels a row"], ["regression", "Regression: a number a row"],
  ["generation", "Generation: continue a text"],
];
export const ROLES = [
  ["text", "Text"], ["label", "Label"], ["text_pair", "Second text of a pair"], ["value", "Number to predict"],
  ["split", "Split: train, val, test"], ["features", "Numeric features"], ["series", "Series"], ["time", "Time"],
];

const choice = (...values) => ["", ...values];
// [name, title, kind, what happens without it]
export const OPTIONS = [
  ["How long", [
    ["epochs", "Epochs", "number", "Passes over the data. Small data gets more, and training stops when it no longer helps."],
    ["max_steps", "Most steps", "whole", "Without a limit, the epochs decide."],
    ["max_seconds", "Most seconds", "number", "A limit makes the result depend on the machine's speed."],
    ["patience", "Patience", "whole", "Evaluations without improvement before it ends."],
  ]],
  ["The network", [
    ["layers", "Layers", "whole", "Chosen by the size of the data."],
    ["width", "Width", "whole", "Size of the hidden vectors, chosen by the size of the data."],
    ["context_length", "Context length", "whole", "Longer texts are cut; chosen so that few are."],
    ["dropout", "Dropout", "number", "More for small data."],
    ["tokenizer", "Tokenizer", choice("bpe", "char", "byte"), "BPE, or characters for small texts."],
    ["vocab_size", "Vocabulary", "whole", "Most tokens of a new tokenizer."],
    ["ngrams", "N-gram branch", choice("true", "false"), "On for texts: it helps with little data."],
  ]],
  ["The optimiser", [
    ["learning_rate", "Learning rate", "number", "Chosen for the architecture and its width."],
    ["batch_size", "Batch size", "whole", "Examples a step."],
    ["optimizer", "Optimiser", choice("adamw", "muon", "sgd"), "The recipe's."],
    ["schedule", "Schedule", choice("cosine", "linear", "constant", "plateau"), "How the learning rate falls."],
    ["weight_decay", "Weight decay", "number", "The recipe's."],
    ["label_smoothing", "Label smoothing", "number", "Helps where labels contradict each other."],
    ["class_weights", "Class weights", choice("balanced"), "None: every row counts the same."],
  ]],
  ["The data", [
    ["skip_bad_rows", "Rows to drop at most", "number", "Share of unusable rows, from 0 to 1. 0: a bad row ends the job."],
    ["encoding", "Encoding", "text", "Detected, such as utf-8 or cp1252."],
    ["baseline", "Compare with a simple model", choice("true", "false"), "On: shows what the network adds."],
  ]],
];

export function read(name, kind, text) {
  if (text === "") return undefined;
  if (text === "true" || text === "false") return text === "true";
  return kind === "number" || kind === "whole" ? Number(text) : text;
}

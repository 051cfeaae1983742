// The training options, with a description of each and of its default.

export const ARCHITECTURES = [
  ["auto", "auto – best of several"], ["linear", "Linear – n-grams only; trains in seconds"], ["gru", "GRU"],
  ["lstm", "LSTM"], ["transformer", "Transformer"], ["rnn", "RNN"],
];
export const TASKS = [
  ["", "Detect"], ["classification", "Classification: one label per row"],
  ["multilabel", "Multilabel: several labels per row"], ["regression", "Regression: one number per row"],
  ["generation", "Generation: continue a text"],
];
export const ROLES = [
  ["text", "Text"], ["label", "Label"], ["text_pair", "Second text of a pair"], ["value", "Number to predict"],
  ["split", "Split: train, val, test"], ["features", "Numeric features"], ["series", "Series"], ["time", "Time"],
];
export const roleTitle = (role) => ROLES.find(([name]) => name === role)?.[1].split(":")[0] || role;

const choice = (...values) => ["", ...values];
const SWITCH = choice("true", "false");
// [name, title, kind, description of the default]
export const OPTIONS = [
  ["Duration", [
    ["epochs", "Epochs", "number", "Passes over the data. Small data sets get more epochs; training stops when the results no longer improve."],
    ["max_steps", "Maximum steps", "whole", "If empty, the number of epochs determines the number of steps."],
    ["max_seconds", "Maximum seconds", "number", "With a time limit, the result depends on the speed of the machine."],
    ["patience", "Patience", "whole", "Number of evaluations without improvement before training stops."],
    ["eval_every", "Steps between evaluations", "whole", "By default, one or two evaluations per pass over the data."],
  ]],
  ["Network", [
    ["layers", "Layers", "whole", "Chosen according to the size of the data."],
    ["width", "Width", "whole", "Size of the hidden vectors, chosen according to the size of the data."],
    ["heads", "Attention heads", "whole", "For a Transformer. The width must be a multiple of twice the number of heads."],
    ["kv_heads", "Key and value heads", "whole", "For a Transformer. Fewer heads need less memory. By default, as many as attention heads."],
    ["context_length", "Context length", "whole", "Longer texts are truncated. By default, chosen so that few texts are truncated."],
    ["dropout", "Dropout", "number", "By default, higher for labelled texts, because networks memorise them quickly."],
    ["pooling", "Pooling", choice("mean", "max", "last", "first", "last_step"), "How the steps of a sequence become one vector."],
    ["bidirectional", "Both directions", SWITCH, "For RNN, LSTM and GRU; on by default, except for generation."],
    ["tokenizer", "Tokenizer", choice("bpe", "char", "byte"), "BPE, or characters for scripts without spaces."],
    ["vocab_size", "Vocabulary", "whole", "Maximum number of tokens in a new tokenizer."],
    ["ngrams", "N-gram branch", SWITCH, "On by default for texts. Improves results on small data sets."],
    ["head_only", "Train only the head", SWITCH, "For fine-tuning: all other parameters are frozen."],
  ]],
  ["Optimiser", [
    ["learning_rate", "Learning rate", "number", "Chosen according to the architecture and the size of the data."],
    ["learning_rate_multiplier", "Learning rate factor", "number", "Multiplies the automatic learning rate."],
    ["batch_size", "Batch size", "whole", "Examples per step."],
    ["accumulation", "Accumulation", "whole", "Divides a step into this number of smaller batches, to save memory."],
    ["optimizer", "Optimiser", choice("adamw", "muon", "sgd"), "Set by the recipe."],
    ["schedule", "Schedule", choice("cosine", "linear", "constant", "plateau"), "The schedule of the learning rate."],
    ["warmup_ratio", "Warm-up", "number", "Share of the steps over which the learning rate rises, from 0 to 1."],
    ["weight_decay", "Weight decay", "number", "Set by the recipe."],
    ["max_grad_norm", "Gradient limit", "number", "Gradients are clipped to this norm."],
    ["label_smoothing", "Label smoothing", "number", "Useful if labels contradict each other."],
    ["class_weights", "Class weights", choice("balanced"), "By default, all rows have the same weight."],
  ]],
  ["Data", [
    ["validation_file", "Validation file", "file", "Used to choose the best checkpoint. Without this file, a share of the rows is held out."],
    ["validation_split", "Held-out share", "number", "Share of the rows that is held out for validation, from 0 to 1."],
    ["skip_bad_rows", "Maximum share of dropped rows", "number", "Maximum share of unusable rows to skip, from 0 to 1. With 0, any unusable row fails the job."],
    ["encoding", "Encoding", "text", "Detected by default. Examples: utf-8, cp1252."],
    ["baseline", "Compare with a simple model", SWITCH, "On by default. Shows how much better the network is than a simple model."],
  ]],
  ["Adapter (LoRA), for fine-tuning a Transformer", [
    ["lora.r", "Rank", "whole", "Trains only a low-rank adapter. Except for language models, the head is also trained. If empty, all weights are trained."],
    ["lora.alpha", "Strength", "number", "Relative to the rank. By default, twice the rank."],
    ["lora.dropout", "Dropout of the adapter", "number", "Applies to the input of the adapter. By default, none."],
    ["lora.target_modules", "Adapted matrices", "list", "Some of qkv, out, up and down, separated by commas. By default, all four."],
  ]],
  ["Machine", [
    ["seed", "Seed", "whole", "Equal requests with equal seeds produce equal weights."],
    ["precision", "Precision", choice("float32", "bfloat16"), "bfloat16 is faster for large networks on some processors."],
    ["threads", "Threads", "whole", "By default, the number in the service's settings."],
    ["deterministic", "Deterministic", SWITCH, "On by default. Without it, training may be faster, but results vary."],
  ]],
];

export const optionTitle = (name) => OPTIONS.flatMap(([, options]) => options).find(([key]) => key === name)?.[1] || name;

// Flattens nested options: {lora: {r: 8}} becomes {"lora.r": 8}.
export const flat = (values) => Object.fromEntries(Object.entries(values || {}).flatMap(([name, value]) => (
  value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value).map(([inner, each]) => [`${name}.${inner}`, each]) : [[name, value]])));

export function read(name, kind, text) {
  if (text === "") return undefined;
  if (kind === "list") return text.split(",").map((part) => part.trim()).filter(Boolean);
  if (text === "true" || text === "false") return text === "true";
  return kind === "number" || kind === "whole" ? Number(text) : text;
}

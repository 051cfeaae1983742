// Formats numbers, sizes, durations and times in the reader's language and time zone. Each kind of figure has one format:
// - shares, and metrics that are shares: per cent with one decimal (`percent`, `figure`)
// - probabilities and thresholds: the same, with more digits near 100 % (`probability`)
// - guaranteed limits: per cent, rounded up to two decimals (`roundedUp`)
// - other metrics: four significant digits (`figure`); p-values: three decimals (`pValue`); counts: all digits (`number`)

const NARROW = "\u202f";

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value)) return value.toLocaleString("en-US").replaceAll(",", NARROW);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e", " e");
  return value.toLocaleString("en-US", { maximumSignificantDigits: digits }).replaceAll(",", NARROW);
}

export const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)}${NARROW}%`;

// A probability or a threshold. Near 1, it has more digits, so that only 1 is shown as 100 %.
export function probability(share) {
  const rest = 100 * (1 - share);
  return percent(share, rest > 0 && rest < 0.5 ? Math.min(6, Math.ceil(-Math.log10(rest))) : 1);
}

// A risk in per cent, rounded up as in the service's messages.
export const roundedUp = (risk) => `${Math.ceil(Number((risk * 1e4).toPrecision(12))) / 100}${NARROW}%`;

const SHARES = /(accuracy|f1|precision|recall|coverage|brier|ece|auc)/;
const DIGITS = { minimumSignificantDigits: 4, maximumSignificantDigits: 4 };
export function figure(name, value) {
  if (SHARES.test(name) && Math.abs(value) <= 1) return percent(value);
  const plain = number(value);
  return Number.isInteger(value) || !/^-?[\d.\u202f]+$/.test(plain) ? plain : value.toLocaleString("en-US", DIGITS).replaceAll(",", NARROW);
}

export const pValue = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);

const UNITS = ["B", "kB", "MB", "GB", "TB"];
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let unit = 0;
  while (count >= 1000 && unit < UNITS.length - 1) { count /= 1000; unit += 1; }
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)}${NARROW}${UNITS[unit]}`;
}

export function compact(count) {
  if (count === null || count === undefined) return "–";
  if (count < 10000) return number(count);
  return new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 }).format(count);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return "–";
  if (seconds < 1) return "less than 1" + NARROW + "s";
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  let left = Math.round(seconds);
  return parts.slice(first, first + 2).map(([size, unit]) => {
    const count = Math.floor(left / size);
    left -= count * size;
    return count ? `${count}${NARROW}${unit}` : "";
  }).filter(Boolean).join(" ");
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
export function ago(epoch) {
  const seconds = epoch - Date.now() / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return "just now";
  for (const [unit, length, until] of [["minute", 60, 3570], ["hour", 3600, 79200], ["day", 86400, 2592000]])
    if (size < until) return RELATIVE.format(Math.round(seconds / length), unit);
  return new Date(epoch * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

export const moment = (epoch) =>
  new Date(epoch * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
export const clock = (epoch, seconds = true) =>
  new Date(epoch * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hourCycle: "h23" });

export const counted = (count, word, plural = word + "s") => `${number(count)} ${count === 1 ? word : plural}`;
export const words = (name) => name.replaceAll("_", " ");
export const ARCHITECTURES = { linear: "Linear", rnn: "RNN", lstm: "LSTM", gru: "GRU", transformer: "Transformer" };
const ACRONYMS = { lstm: "LSTM", gru: "GRU", rnn: "RNN", f1: "F1", r2: "R²", lr: "learning rate" };
const PHRASES = { mse: "mean squared error", mae: "mean absolute error", ece: "calibration error (ECE)", ece_uncalibrated: "ECE before calibration", sets_90: "prediction sets of 90" + NARROW + "%", sets_95: "prediction sets of 95" + NARROW + "%" };

// The name of a metric or an option in words: `phrase` for the middle of a sentence, and `title` for its start.
export const phrase = (name) => PHRASES[name] || name.split(/[_ ]/).map((word) => ACRONYMS[word] || word).join(" ");
export const title = (name) => {
  const text = phrase(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
};
export const architecture = (name) => ARCHITECTURES[name] || name;

// Line charts, drawn by uPlot in the page's colours. Each chart has a table of the last values for screen readers.

import { h, replace } from "./dom.js";
import { clock, number } from "./format.js";

const STEPS = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => digit * 10 ** power)).sort((a, b) => a - b);
const FONT = "12px system-ui";
const COLOURS = ["--first", "--second", "--third", "--fourth"];
const colour = (name) => {
  const probe = h("span", { style: { color: `var(${name})` } });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;  // resolves light-dark()
  probe.remove();
  return value;
};

// The range of an axis if all of its values are equal.
const flat = (value) => (value === 0 ? [0, 1] : [Math.min(0, 2 * value), Math.max(0, 2 * value)]);

let library;
function load() {
  library ||= Promise.all([import("./vendor/uPlot.esm.js"), style()]).then(([module]) => module.default);
  return library;
}
function style() {
  return new Promise((resolve) => document.head.append(h("link", {
    rel: "stylesheet", href: new URL("vendor/uPlot.min.css", import.meta.url).pathname, onload: resolve, onerror: resolve })));
}

// series: [{name, points: [[x, y], …], dotted, level}]. `level` draws a horizontal line. x are numbers, or times in seconds.
// With `span`, the horizontal axis includes these two positions. With `range`, the vertical axis has these ends.
// `tick(value, step)` formats the ends of the grid lines, which are `step` apart; `format` formats the values in the legend.
export class Chart {
  constructor(name, { time = false, xName = time ? "Time of day" : "Step", yName = name, format = number, tick = (value) => format(value), height = 260, range = null, waiting = "The curve appears within a few seconds." } = {}) {
    Object.assign(this, { name, time, xName, yName, format, tick, height, range, span: null });
    this.box = h("div", { class: "chart", role: "img", "aria-label": name, hidden: true });
    this.legend = h("div", { class: "legend" }, h("em", {}, waiting));
    this.element = h("figure", { class: "stack", style: { margin: 0 } }, this.box, this.legend);
    this.series = [];
    window.addEventListener("themechange", () => this.rebuild());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
    new ResizeObserver(() => this.fit()).observe(this.box);
  }

  fit() {
    const width = this.box.clientWidth;
    if (this.plot && width && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: this.height });
  }

  async update(series, span = null) {
    this.span = span;
    const same = this.plot && series.length === this.series.length && series.every((s, i) => s.name === this.series[i].name);
    this.series = series;
    this.describe();
    if (same) this.plot.setData(aligned(series));
    else await this.rebuild();
  }

  describe() {
    const last = this.series.map((s) => `${s.name} ${this.format(s.level ?? s.points.at(-1)?.[1])}`);
    this.box.setAttribute("aria-label", `${this.name}. Latest: ${last.join(", ")}`);
    replace(this.legend, this.series.map((s, i) => h("span", { class: s.level !== undefined ? "dashed" : s.dotted ? "dotted" : null, style: { "--colour": `var(${s.level === undefined ? COLOURS[i % 4] : "--edge"})` } }, last[i])));
  }

  async rebuild() {
    if (!this.series.length) return;
    this.box.hidden = false;
    const UPlot = await load();
    this.plot?.destroy();
    if (!this.box.clientWidth) await new Promise(requestAnimationFrame);
    this.plot = new UPlot(this.options(UPlot), aligned(this.series), this.box);
  }

  options({ rangeNum }) {
    const [text, grid] = [colour("--muted"), colour("--grid")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: FONT, labelFont: FONT, labelSize: 18, labelGap: 0 };
    return {
      width: this.box.clientWidth || 600, height: this.height, legend: { show: false }, padding: [10, 26, 0, 0],  // half of the last time's label extends into the space at the right
      cursor: { y: false, points: { size: 7 } }, scales: { x: { time: this.time, ...(this.time ? { range: (plot, low, high) => this.ends(plot, low, high) } : {}) },
        y: { range: (_, low, high) => this.range || (low === high ? flat(low) : rangeNum(low, high, 0.1, true)) } },
      axes: [{ ...axis, size: 30, label: this.xName, ...(this.time ? { space: 80, values: (_, ticks, axis_, space, step) => ticks.map((time) => clock(time, step < 60)) } : { incrs: STEPS, values: (_, ticks) => ticks.map((x) => number(x)) }) },
        { ...axis, size: 56, label: this.yName, values: (_, ticks, axis_, space, step) => ticks.map((v) => this.tick(v, step)) }],
      series: [{ label: this.xName }, ...this.series.map((s, i) => ({
        label: s.name, spanGaps: true, width: s.dotted ? 3 : 2, stroke: colour(s.level === undefined ? COLOURS[i % 4] : "--edge"),
        dash: s.dotted ? [3, 9] : s.level !== undefined ? [6, 5] : undefined, points: { show: !s.dotted && s.points?.length < 40, size: 5 } }))],
      hooks: { setCursor: [(plot) => this.point(plot)] },
    };
  }

  // The ends of the time axis: the span, unless the reader has zoomed in.
  ends({ data: [xs] }, low, high) {
    const [first, last] = [xs[0], xs[xs.length - 1]];
    const whole = low <= first && high >= last;
    return this.span && whole ? [Math.min(first, this.span[0]), Math.max(last, this.span[1])] : [low, high];
  }

  // Shows the values at the pointer's position in the legend.
  point(plot) {
    const index = plot.cursor.idx;
    if (index === null || index === undefined) return this.describe();
    const x = plot.data[0][index];
    [...this.legend.children].forEach((item, i) => {
      const value = plot.data[i + 1][index];
      if (value !== null && value !== undefined) item.textContent = `${this.series[i].name} ${this.format(value)}`;
    });
    this.legend.title = this.time ? clock(x) : `${this.xName} ${number(x)}`;
  }
}

// uPlot takes one list of x values, and for each series the y values at these x values.
function aligned(series) {
  const positions = new Set();
  for (const s of series) for (const [x] of s.points || []) positions.add(x);
  const xs = [...positions].sort((a, b) => a - b);
  if (series.every((s) => s.points && s.points.length === xs.length))
    return [xs, ...series.map((s) => s.points.map(([, y]) => y))];
  const place = new Map(xs.map((x, i) => [x, i]));
  return [xs, ...series.map((s) => {
    const ys = new Array(xs.length).fill(s.level ?? null);
    for (const [x, y] of s.points || []) ys[place.get(x)] = y;
    return ys;
  })];
}

// The kernel bench: a kernel slides over a small input; what stride, padding, dilation and groups do to sizes and sums.

import { at, make, number, said, say, text } from "./core.js";
import { place } from "./results.js";

/** @type {Record<string, [number, number, number]>} least, most, usual */
const SETTINGS = {
  input: [1, 12, 7], kernel: [1, 7, 3], stride: [1, 4, 1], padding: [0, 4, 0], dilation: [1, 4, 1],
  channels: [1, 16, 4], outputs: [1, 16, 4], groups: [1, 16, 1],
};
/** Side of a cell in the picture. */
const CELL = 28;

/** @param {HTMLElement} root */
export function show(root) {
  const out = make("div", { id: "bench" });
  const controls = Object.entries(SETTINGS).map(([key, [least, most]]) => make("label", { class: "control" }, text(`bench-${key}`), " ",
    make("input", {
      type: "number", min: least, max: most, value: String(setting(key)), name: key,
      onchange: (/** @type {any} */ event) => {
        say({ [key]: event.target.value, at: null });
        out.replaceChildren(...bench());
      },
    })));
  root.append(make("div", { class: "controls" }, ...controls), out);
  root.addEventListener("keydown", (event) => {
    const grid = /** @type {HTMLElement} */ (event.target).closest("canvas");
    const { width } = size();
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width }[event.key];
    if (!grid || !step || width < 1) return;
    event.preventDefault();
    const next = chosen(width) + step;
    if (next < 0 || next >= width * width) return;
    say({ at: String(next) });
    out.replaceChildren(...bench());
    /** @type {HTMLElement} */ (out.querySelector("canvas")).focus();
  });
  out.replaceChildren(...bench());
}

/** @param {string} key */
function setting(key) {
  const [least, most, usual] = SETTINGS[key];
  const value = Math.round(Number(said(key, String(usual))));
  return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : usual;
}

/** The output that the address names, or the first. @param {number} width */
const chosen = (width) => place("at", width * width, 0);

/** Output size, parameters and multiply-accumulates, or why there are none. */
export function size() {
  const [input, kernel, stride, padding, dilation, channels, outputs, groups] = Object.keys(SETTINGS).map(setting);
  const span = dilation * (kernel - 1) + 1;
  const padded = input + 2 * padding;
  const width = span > padded ? 0 : Math.floor((padded - span) / stride) + 1;
  const divides = channels % groups === 0 && outputs % groups === 0;
  const weights = divides ? outputs * (channels / groups) * kernel * kernel : 0;
  return { input, kernel, stride, padding, dilation, channels, outputs, groups, span, padded, width, divides, weights, macs: weights * width * width };
}

function bench() {
  const sizes = size();
  const { span, padded, width, divides } = sizes;
  if (!divides) return impossible(text("bench-groups-wrong", sizes));
  if (width < 1) return impossible(text("bench-too-large", { span, padded }));
  const words = text("bench-sizes", { ...sizes, weights: number(sizes.weights), macs: number(sizes.macs) });
  const output = chosen(width);
  const products = terms(sizes, output);
  const total = products.reduce((sum, { value, weight }) => sum + value * weight, 0);
  const formula = products.filter(({ value }) => value).map(({ value, weight }) => `${value}·${weight}`).join(" + ") || "0";
  return [make("p", { id: "bench-size", text: words }), draw(sizes, output),
    make("p", { class: "controls" }, step("previous", output - 1, width), step("next", output + 1, width)),
    make("p", {}, text("bench-sum", { row: Math.floor(output / width), column: output % width }), " ", make("code", { text: formula }), " = ",
      make("strong", { id: "bench-total", text: String(total) }))];
}

/** @param {string} why */
function impossible(why) {
  at("status").textContent = why;
  return [make("p", { class: "warning", text: why })];
}

/** @param {string} key @param {number} to @param {number} width */
const step = (key, to, width) => make("button", {
  type: "button", text: text(key), disabled: to < 0 || to >= width * width,
  onclick: (/** @type {any} */ event) => {
    say({ at: String(to) });
    const out = event.target.closest("#bench");
    out.replaceChildren(...bench());
    [...out.querySelectorAll("button")].find((button) => button.textContent === text(key) && !button.disabled)?.focus();
  },
});

/** The input: numbers that are easy to follow. @param {number} row @param {number} column */
const value = (row, column) => (3 * row + 5 * column) % 10;
/** The kernel's. @param {number} row @param {number} column */
const weight = (row, column) => ((row + 2 * column) % 3) - 1;

/** The products of one output. @param {ReturnType<typeof size>} sizes @param {number} output */
function terms({ input, kernel, stride, padding, dilation, width }, output) {
  const [top, left] = [Math.floor(output / width), output % width].map((at) => at * stride - padding);
  const all = [];
  for (let y = 0; y < kernel; y++) {
    for (let x = 0; x < kernel; x++) {
      const [row, column] = [top + y * dilation, left + x * dilation];
      const inside = row >= 0 && column >= 0 && row < input && column < input;
      all.push({ row, column, value: inside ? value(row, column) : 0, weight: weight(y, x) });
    }
  }
  return all;
}

/** @param {ReturnType<typeof size>} sizes @param {number} output */
function draw(sizes, output) {
  const { input, padding, padded } = sizes;
  const canvas = make("canvas", {
    width: padded * CELL, height: padded * CELL, tabindex: "0", role: "img", class: "bench", "aria-label": text("bench-picture", sizes),
  });
  const pen = canvas.getContext("2d");
  Object.assign(pen, { font: "13px system-ui", textAlign: "center", textBaseline: "middle" });
  const touched = new Map(terms(sizes, output).map((term) => [`${term.row},${term.column}`, term]));
  for (let row = -padding; row < input + padding; row++) {
    for (let column = -padding; column < input + padding; column++) {
      const [x, y] = [(column + padding) * CELL, (row + padding) * CELL];
      const inside = row >= 0 && column >= 0 && row < input && column < input;
      const term = touched.get(`${row},${column}`);
      pen.fillStyle = term ? "#fdb863" : inside ? "#ffffff" : "#d5d5d5";
      pen.fillRect(x, y, CELL, CELL);
      pen.strokeStyle = "#767676";
      pen.strokeRect(x + 0.5, y + 0.5, CELL - 1, CELL - 1);
      pen.fillStyle = "#1a1a1a";
      pen.fillText(String(inside ? value(row, column) : 0), x + CELL / 2, y + CELL / 2);
    }
  }
  return canvas;
}

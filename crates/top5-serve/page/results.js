// Results of other commands, which the server shows beside its models: which there are, and their pictures.

import { ask, at, command, copied, exported, labelled, make, number, said, select, state, text } from "./core.js";

/** Commands that make each kind. @type {Record<string, string[][]>} */
const COMMANDS = {
  evaluation: [["top5", "eval", "lenet", "--report", "results"], ["top5", "serve", "--show", "results"]],
  gallery: [["top5", "gallery", "lenet", "--out", "gallery"], ["top5", "serve", "--show", "gallery"]],
  evolution: [["top5", "train", "lenet", "--keep-epochs", "1,2,5,10"], ["top5", "evolve", "runs/lenet-digits", "--out", "evolution"],
    ["top5", "serve", "--show", "evolution"]],
  invariance: [["top5", "invariance", "lenet", "digit.png", "--out", "invariance"], ["top5", "serve", "--show", "invariance"]],
};

/** Documents that were read, by name. @type {Map<string, any>} */
const read = new Map();

/**
 * The result of a kind that the address names, or the first; null where there is none, and how to make one is told. Where there
 * are several, they can be chosen from. @param {string} kind @param {HTMLElement} root @param {() => void} anew
 * @param {string} [key] the word of the address that names it
 */
export async function chosen(kind, root, anew, key = "result") {
  const { results } = await ask("v1/results");
  const all = results.filter((/** @type {any} */ one) => one.kind === kind);
  if (all.length === 0) {
    const words = text("no-results", { kind: text(`kind-${kind}`) });
    at("status").textContent = words;
    root.append(make("p", { text: words }), ...COMMANDS[kind].map((words) => copied(command(words))));
    return null;
  }
  const entry = all.find((/** @type {any} */ one) => one.name === said(key)) ?? all[0];
  if (all.length > 1) {
    const choices = all.map((/** @type {any} */ one) => [one.name, `${one.name}: ${one.about}`]);
    const choose = (/** @type {string} */ name) => {
      const view = said("view");
      /** @type {Record<string, string>} */
      const other = key === "result" ? {} : { result: said("result") };
      history.pushState(null, "", `#${new URLSearchParams({ lang: state.language, view, ...other, [key]: name })}`);
      anew();
    };
    root.append(make("p", { class: "controls" }, labelled("result-of", select(choices, entry.name, choose))));
  }
  if (!read.has(entry.name)) read.set(entry.name, await ask(`v1/results/${entry.name}`));
  return { ...entry, document: read.get(entry.name) };
}

/**
 * The commands that give the same as a result: from this server, and as it was made, where it can be made again. No page knows where
 * that network's weights are. @param {any} result @param {string[]} [words] up to the option that takes its name
 */
export const again = (result, words) => [
  ...(exported ? [] : [copied(command(["curl", `${location.origin}/v1/results/${result.name}`]))]),
  ...(words ? [copied(command(["top5", ...words, result.name]))] : []),
];

/** Where a picture of a result is; null where it has none. @param {any} result @param {string} file */
export function pictureAt(result, file) {
  if (!result.pictures) return null;
  if (!exported) return `v1/results/${result.name}/${file}`;
  const name = `${result.name}-${file}`;
  return exported.pictures.includes(name) ? name : null;
}

/**
 * A part of a picture. @param {string | null} address @param {{top: number, left: number, height: number, width: number}} part
 * @param {string} name
 */
export function cut(address, part, name) {
  const canvas = make("canvas", { width: part.width, height: part.height, role: "img", "aria-label": name, class: "cut" });
  const sheet = new Image();
  sheet.onload = () => canvas.getContext("2d").drawImage(sheet, part.left, part.top, part.width, part.height, 0, 0, part.width, part.height);
  if (address) sheet.src = address;
  return canvas;
}

/** A curve, from the least to the greatest of what is on its axes. @param {number[]} x @param {number[]} y @param {string} name @param {number} [most] */
export function chart(x, y, name, most = Math.max(...y, 1e-9)) {
  const [width, height, edge] = [320, 180, 34];
  const shape = (/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes, content = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    made.textContent = content;
    return made;
  };
  const [low, high] = [Math.min(...x), Math.max(...x)];
  const place = (/** @type {number} */ at) => [edge + (x[at] - low) / (high - low || 1) * (width - edge - 8), height - 24 - y[at] / most * (height - 36)];
  const words = (/** @type {number} */ value) => number(value, { maximumSignificantDigits: 3 });
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart", "aria-label": name });
  svg.append(shape("path", { d: `M${edge} 8V${height - 24}H${width - 8}`, class: "axis" }),
    shape("polyline", { points: x.map((_, at) => place(at).map((value) => value.toFixed(1)).join(",")).join(" "), class: "curve" }),
    shape("text", { x: edge, y: height - 8 }, words(low)), shape("text", { x: width - 8, y: height - 8, "text-anchor": "end" }, words(high)),
    shape("text", { x: edge - 4, y: 18, "text-anchor": "end" }, words(most)), shape("text", { x: edge - 4, y: height - 24, "text-anchor": "end" }, "0"));
  return svg;
}

/** Says something of the address without a step for Back. @param {string} key @param {string} value */
export function note(key, value) {
  const words = new URLSearchParams(location.hash.slice(1));
  if (value) words.set(key, value);
  else words.delete(key);
  history.replaceState(null, "", `#${words}`);
}

/** What the address says at a key as one of the numbers below `end`; or the other. @param {string} key @param {number} end @param {number} [otherwise] */
export function place(key, end, otherwise = -1) {
  const number = said(key) === "" ? NaN : Number(said(key));
  return Number.isInteger(number) && number >= 0 && number < end ? number : otherwise;
}


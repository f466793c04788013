// Blocks: where branches part and meet again. What each branch is made of and how much it gives for the image; gates as numbers; and
// what the network says without some branches.

import { ask, askOfImage, at, command, copied, exported, fail, make, model, number, percent, posting, said, say, select, state, table, text } from "./core.js";
import { topTable } from "./classify.js";
import { numbers } from "./maps.js";

/** @typedef {{name: string, kind: string, output: number[], fork: string, gated: boolean, branches: {end: string, layers: any[]}[]}} Block */

/** @type {Block[]} */
let blocks = [];
/** @type {Record<string, HTMLElement>} */
let parts = {};
/** Questions so far: an answer that comes after a later question is not shown. */
let questions = 0;

/** @param {HTMLElement} root */
export async function show(root) {
  ({ blocks } = await ask(`v1/models/${model().name}/blocks`));
  if (blocks.length === 0) {
    root.append(make("p", { id: "no-blocks", text: text("no-blocks", { network: model().network }) }));
    at("status").textContent = text("no-blocks", { network: model().network });
    return;
  }
  parts = { block: make("div", { id: "block" }), answer: make("div", { id: "without" }) };
  const choices = blocks.map((block) => /** @type {[string, string]} */ ([block.name, title(block)]));
  const pick = select(choices, said("block"), (name) => {
    say({ block: name });
    draw();
    image();
  });
  pick.id = "blocks";
  root.append(make("p", { class: "controls" }, make("label", { class: "control" }, text("block"), " ", pick)), parts.block, parts.answer);
  draw();
  await image();
}

/** @param {Block} block */
const title = (block) => (block.gated ? text("block-gates", block) : text("block-of", { name: block.name, count: block.branches.length }));

/** The block that the address names, or the first. */
const chosen = () => blocks.find((block) => block.name === said("block")) ?? blocks[0];

/** Branches that are off, as the address has them. */
const off = () => new Set(said("off").split(",").filter(Boolean));

/** The block with a switch for each branch. */
function draw() {
  const block = chosen();
  const away = off();
  const branch = (/** @type {Block["branches"][number]} */ one, /** @type {number} */ i) => {
    const key = `${block.name}:${i}`;
    const name = one.layers.length ? one.layers.map((layer) => layer.name).join(" → ") : text("straight", { fork: block.fork });
    const box = make("input", {
      type: "checkbox", id: `branch-${i}`, checked: !away.has(key), disabled: Boolean(exported),
      onchange: (/** @type {any} */ event) => turn(key, event.target.checked),
    });
    const rows = one.layers.map((layer) => [layer.name, `${layer.kind} ${layer.attributes}`, layer.output.join(" × "),
      layer.groups > 1 ? number(layer.groups) : "", number(layer.params), number(layer.macs)]);
    const sum = (/** @type {string} */ what) => number(one.layers.reduce((all, layer) => all + layer[what], 0));
    const gates = block.gated && i === block.branches.length - 1;
    return make("li", {}, make("p", {}, make("label", { class: "control" }, box, " ", text(gates ? "gates-on" : "branch-on", { number: i + 1 }))),
      one.layers.length
        ? make("details", {}, make("summary", { text: text("branch-sum", { layers: one.layers.length, params: sum("params"), macs: sum("macs") }) }),
          table(name, ["layer", "type", "shape", "groups", "params", "macs"].map((head) => text(head)), rows))
        : make("p", { class: "soft", text: name }));
  };
  parts.block.replaceChildren(
    make("p", { text: text("block-about", { ...block, output: block.output.join(" × ") }) }),
    make("ol", { class: "branches" }, ...block.branches.map(branch)),
    make("p", { class: "controls" }, make("button", {
      type: "button", id: "all-on", text: text("all-on"), disabled: away.size === 0,
      onclick: () => {
        say({ off: null });
        draw();
        /** @type {HTMLElement | null} */ (parts.block.querySelector("input"))?.focus();
        image();
      },
    }), make("span", { id: "off-count", text: away.size ? text("off-count", { count: away.size }) : "" })));
}

/** Switches a branch. @param {string} key @param {boolean} on */
function turn(key, on) {
  const away = off();
  if (on) away.delete(key);
  else away.add(key);
  say({ off: [...away].join(",") || null });
  const focus = document.activeElement?.id;
  draw();
  if (focus) at(focus)?.focus();
  image();
}

export async function image() {
  if (blocks.length === 0) return;
  const own = ++questions;
  if (!state.blob) {
    parts.answer.replaceChildren();
    at("status").textContent = text("no-image");
    return;
  }
  const words = new URLSearchParams({ block: chosen().name });
  if (off().size) words.set("off", [...off()].join(","));
  const path = `v1/blocks/${model().name}?${words}`;
  try {
    const answer = await askOfImage(path);
    if (own === questions) tell(answer, path);
  } catch (error) {
    if (own !== questions) return;
    parts.answer.replaceChildren();
    fail(error);
  }
}

/** @param {any} answer @param {string} path */
function tell(answer, path) {
  const [whole, first] = [answer.whole[0], answer.predictions[0]];
  const before = text("first", { class: whole.class, percent: percent(whole.probability) });
  at("status").textContent = off().size
    ? text("without-says", { class: first.class, percent: percent(first.probability), whole: whole.class, before: percent(whole.probability) })
    : before;
  const digits = { maximumSignificantDigits: 4 };
  const given = answer.branches.map((/** @type {any} */ branch, /** @type {number} */ i) =>
    [number(i + 1), branch.end, number(branch.channels), number(branch.size, digits)]);
  const tables = [make("div", { id: "whole" }, make("h3", { text: text("whole") }), topTable(answer.whole))];
  if (off().size) tables.push(make("div", { id: "fewer" }, make("h3", { text: text("fewer") }), topTable(answer.predictions)));
  const line = exported ? command(["top5", "serve", model().name]) : posting(path);
  parts.answer.replaceChildren(make("div", { class: "figures" }, ...tables),
    table(text("given", { name: answer.block }), ["branch", "end", "channels", "size-of"].map((head) => text(head)), given),
    ...(answer.gates ? gates(answer.gates) : []), copied(line));
}

/** The factors of the channels, in words and as a table. @param {number[]} values */
function gates(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const digits = (/** @type {number} */ value) => number(value, { maximumSignificantDigits: 4 });
  const words = text("gates-are", {
    count: number(values.length), least: digits(sorted[0]), middle: digits(sorted[Math.floor(sorted.length / 2)]), most: digits(sorted[sorted.length - 1]),
    lowest: values.indexOf(sorted[0]), highest: values.indexOf(sorted[sorted.length - 1]),
  });
  const width = Math.min(16, values.length);
  const height = Math.ceil(values.length / width);
  const map = /** @type {any} */ ({ height, width, values: Array.from({ length: height * width }, (_, i) => values[i] ?? "") });
  const shown = numbers(map, text("gates-table", { width }));
  shown.id = "gates";
  return [make("p", { text: words }), shown];
}

// A walk through the network: its layers to scale, the maps of one, and one value as the sum that it is. Enter goes deeper, Escape
// comes back.

import { ask, askOfImage, at, command, copied, exported, fail, make, model, number, said, say, state, text } from "./core.js";
import { figure, legend, numbers, picture } from "./maps.js";

/** Sizes of boxes, tiles and maps, as multiples of their own. */
const ZOOMS = [0.5, 1, 2, 4];

/** @type {HTMLElement} */
let root;
/** @type {any} */
let layers = null;

/** @param {HTMLElement} into */
export async function show(into) {
  root = make("div", { id: "walk", onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && back() });
  into.append(root);
  layers = await ask(`v1/models/${model().name}/layers`);
  await draw();
}

export async function image() {
  if (said("layer")) await draw();
}

/** The size that the address says. */
const zoom = () => (ZOOMS.includes(Number(said("zoom"))) ? Number(said("zoom")) : 1);

/** Buttons that make what is shown larger and smaller. */
function zoomer() {
  const told = make("span", { id: "zoom" });
  const step = (/** @type {number} */ by) => {
    const next = ZOOMS[ZOOMS.indexOf(zoom()) + by];
    if (next !== undefined) say({ zoom: next === 1 ? null : String(next) });
    apply();
  };
  const apply = () => {
    root.style.setProperty("--zoom", String(zoom()));
    told.textContent = text("zoomed", { percent: number(100 * zoom()) });
  };
  const button = (/** @type {string} */ key, /** @type {number} */ by) => make("button", { type: "button", id: key, text: text(key), onclick: () => step(by) });
  apply();
  return make("p", { class: "controls" }, button("smaller", -1), button("larger", 1), told);
}

/** One level up. */
function back() {
  /** @type {Record<string, null>} */
  const last = said("row") !== "" ? { row: null, column: null } : said("map") !== "" ? { map: null } : { layer: null };
  const focus = said("row") !== "" || said("map") !== "" ? `[data-map="${said("map")}"]` : `[data-layer="${CSS.escape(said("layer"))}"]`;
  go(last, focus);
}

/** @param {Record<string, string | null>} words @param {string} [focus] */
async function go(words, focus) {
  say(words);
  await draw();
  // What had the focus is gone: without another one the next key would go nowhere.
  const found = /** @type {HTMLElement | null} */ ((focus && root.querySelector(focus)) || root.querySelector("h3"));
  found?.focus();
}

/** Drawings so far: an answer that comes after a later one began is not shown. */
let drawings = 0;

async function draw() {
  const own = ++drawings;
  const layer = said("layer");
  if (!layer) {
    strip();
    return;
  }
  if (!state.blob) {
    at("status").textContent = text("no-image");
    strip();
    return;
  }
  const words = new URLSearchParams({ layer });
  for (const key of ["map", "row", "column"]) if (said(key) !== "") words.set(key, said(key));
  try {
    const answer = await askOfImage(`v1/activations/${model().name}?${words}`);
    if (own !== drawings) return;
    if (answer.map) one(answer);
    else all(answer);
  } catch (error) {
    if (own !== drawings) return;
    strip();
    fail(error);
  }
}

/** Level one: boxes as wide as the logarithm of channels, as high as the maps. */
function strip() {
  const boxes = layers.layers.map((/** @type {any} */ layer) => {
    const [channels, height = 1] = layer.output;
    const box = make("span", { class: "box", "aria-hidden": "true" });
    box.style.width = `calc(var(--zoom) * ${4 + 4 * Math.log2(1 + channels)}px)`;
    box.style.height = `calc(var(--zoom) * ${4 + 10 * Math.log2(1 + height)}px)`;
    return make("li", {}, make("button", {
      type: "button", class: "layer", "data-layer": layer.name, onclick: () => go({ layer: layer.name }),
    }, box, make("strong", { text: layer.name }), make("span", { text: `${layer.kind} ${layer.attributes}` }),
    make("span", { class: "soft", text: layer.output.join(" × ") })));
  });
  root.replaceChildren(make("h3", { tabindex: "-1", text: text("layers-of", { network: model().network }) }), zoomer(),
    make("ol", { class: "strip" }, ...boxes), copied(command(["top5", "show", model().network])));
}

/** Level two. @param {any} answer */
function all(answer) {
  const [channels, height, width] = answer.output;
  const buttons = answer.maps.map((/** @type {any} */ map) => make("button", {
    type: "button", class: "tile", "data-map": map.map, disabled: Boolean(exported), onclick: () => go({ map: String(map.map) }),
  }, make("img", { src: map.image, alt: text("map-named", { map: map.map, mean: number(map.mean, { maximumSignificantDigits: 3 }) }) }),
  make("span", { "aria-hidden": "true", text: map.map })));
  root.replaceChildren(heading(answer), make("p", { text: text("maps-of", { channels: number(channels), height, width }) }),
    up(), zoomer(), legend(answer.scale), make("div", { class: "tiles" }, ...buttons));
}

/** Level three. @param {any} answer */
function one(answer) {
  const { map, unit, output: [, height, width] } = answer;
  const row = Number(said("row", "0"));
  const column = Number(said("column", "0"));
  const name = text("map-of", { map: map.map, layer: answer.layer });
  const place = (/** @type {"row" | "column"} */ key, /** @type {number} */ size, /** @type {number} */ value) => make("label", { class: "control" },
    text(key), " ", make("input", {
      type: "number", min: 0, max: size - 1, value: String(value), id: `unit-${key}`,
      onchange: (/** @type {any} */ event) => {
        const next = String(Math.min(size - 1, Math.max(0, Number(event.target.value) || 0)));
        go({ row: String(row), column: String(column), [key]: next }, `#unit-${key}`);
      },
    }));
  const canvas = cells(map, answer.scale, name, [row, column]);
  const sees = unit?.sees;
  const seen = make("div", { class: "over" }, make("img", { src: answer.image, alt: text("seen"), class: "map" }));
  if (sees) {
    const [, rows, columns] = model().input;
    const box = make("span", { class: "field", "aria-hidden": "true" });
    Object.assign(box.style, {
      top: `${100 * sees.top / rows}%`, left: `${100 * sees.left / columns}%`,
      height: `${100 * sees.height / rows}%`, width: `${100 * sees.width / columns}%`,
    });
    seen.append(box);
  }
  root.replaceChildren(heading(answer), up(), zoomer(),
    make("div", { class: "figures" }, make("figure", {}, seen, make("figcaption", { text: sees ? text("field", sees) : text("seen") })),
      make("figure", {}, canvas, make("figcaption", { text: name }))), legend(answer.scale),
    ...(exported ? [] : [make("p", { class: "controls" }, place("row", height, row), place("column", width, column),
      make("button", { type: "button", id: "formula", text: text("formula"), onclick: () => go({ row: String(row), column: String(column) }, "#sum") }))]),
    ...(unit ? [sum(unit)] : []), numbers(map, name));
}

/**
 * A map whose cells tell their values: those under a pointer, and those that the arrow keys go to. Enter or a click says how the value
 * comes about. @param {import("./maps.js").NumberMap} map @param {import("./maps.js").Scale} scale @param {string} name @param {number[]} first
 */
function cells(map, scale, name, first) {
  const { height, width, values } = map;
  let [row, column] = first;
  const canvas = picture(map, scale, name);
  const mark = make("span", { class: "field", "aria-hidden": "true" });
  const told = make("p", { id: "under", role: "status" });
  const to = (/** @type {number} */ y, /** @type {number} */ x) => {
    row = Math.min(height - 1, Math.max(0, y));
    column = Math.min(width - 1, Math.max(0, x));
    Object.assign(mark.style, {
      top: `${100 * row / height}%`, left: `${100 * column / width}%`, height: `${100 / height}%`, width: `${100 / width}%`,
    });
    told.textContent = text("cell", { row, column, value: values[row * width + column] });
  };
  const open = () => !exported && go({ row: String(row), column: String(column) }, "canvas.cells");
  const moves = /** @type {Record<string, number[]>} */ ({ ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] });
  canvas.classList.add("cells");
  canvas.tabIndex = 0;
  canvas.setAttribute("aria-describedby", "cells-help");
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const by = moves[event.key];
    if (by) to(row + by[0], column + by[1]);
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    to(Math.floor((event.clientY - box.top) / box.height * height), Math.floor((event.clientX - box.left) / box.width * width));
  });
  canvas.addEventListener("click", open);
  to(row, column);
  return make("div", { class: "wide" }, make("div", { class: "over cells" }, canvas, mark), told, make("p", { id: "cells-help", class: "soft", text: text("cells-help") }));
}

/** A value as the sum that it is. @param {any} unit */
function sum(unit) {
  const { formula } = unit;
  const box = make("section", { id: "sum", tabindex: "-1", "aria-label": text("formula") });
  box.append(make("p", {}, text("value"), " ", make("strong", { id: "value", text: String(unit.value) })));
  if (!formula) {
    box.append(make("p", { text: text("no-formula") }));
    return box;
  }
  const rows = formula.terms.map((/** @type {any} */ term) => make("tr", {},
    make("th", { scope: "row", text: `${term.channel}, ${term.row}, ${term.column}` }),
    ...[term.input, term.weight, term.input * term.weight].map((value) => make("td", { class: "number", text: number(value, { maximumSignificantDigits: 7 }) }))));
  box.append(make("p", {}, text("sum", { count: formula.count, of: formula.of, offset: number(formula.offset, { maximumSignificantDigits: 7 }) }), " ",
    make("strong", { id: "total", text: String(Number(formula.total.toPrecision(7))) })),
  make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": text("products") }, make("table", { class: "numbers" },
    make("caption", { text: text("products") }),
    make("thead", {}, make("tr", {}, ...["place", "input", "weight", "product"].map((key) => make("th", { scope: "col", text: text(key) })))),
    make("tbody", {}, ...rows))));
  return box;
}

/** @param {any} answer */
const heading = (answer) => make("h3", { tabindex: "-1", text: `${answer.layer}: ${answer.kind} ${answer.attributes}` });

const up = () => make("p", {}, make("button", { type: "button", id: "up", text: text("up"), onclick: back }));

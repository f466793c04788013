// The occlusion lab: hide parts of what the network sees and watch its answer; or let a square go over the whole image, as in
// figure 7 of Zeiler & Fergus.

import {
  askOfImage, askSlowly, at, command, copied, exported, fail, fileName, make, model, percent, posting, state, text,
} from "./core.js";
import { topTable } from "./classify.js";
import { figure, legend, picture } from "./maps.js";

/** @type {{top: number, left: number, size: number}[]} */
let stamped = [];
let square = { top: 0, left: 0, size: 4 };
/** @type {Record<string, any>} */
let parts = {};
/** @type {AbortController | null} */
let run = null;
/** @type {HTMLImageElement | null} */
let seen = null;
/** One question at a time, and the latest next. */
let asking = false;
let again = 0;
/** How often something was asked for: only what was asked for last says in the status line what came of it. */
let wanted = 0;

/** @param {HTMLElement} root */
export function show(root) {
  const [, height, width] = model().input;
  const side = Math.max(1, Math.floor(Math.min(height, width) / 7));
  square = { top: Math.floor((height - side) / 2), left: Math.floor((width - side) / 2), size: side };
  stamped = [];
  seen = null;
  const scale = Math.max(1, Math.floor(280 / width));
  const canvas = make("canvas", {
    width: width * scale, height: height * scale, tabindex: "0", role: "img", "aria-label": text("occlude-canvas"),
    "aria-describedby": "occlude-help", class: "lab",
    onkeydown: key, onpointerdown: point, onpointermove: (/** @type {PointerEvent} */ event) => event.buttons && point(event),
    onpointerup: stamp,
  });
  const button = (/** @type {string} */ name, /** @type {() => void} */ act) => make("button", { type: "button", text: text(name), onclick: act });
  const size = make("input", {
    type: "range", min: 1, max: Math.min(height, width), value: side,
    oninput: (/** @type {any} */ event) => { square.size = Number(event.target.value); move(0, 0); },
  });
  parts = {
    canvas, scale, places: make("p"), answer: make("div", { id: "behind" }),
    panels: make("div", { class: "figures", id: "panels" }),
    bar: make("progress", { "aria-label": text("progress"), value: 0, max: 1, hidden: true }),
    cancel: make("button", { type: "button", text: text("cancel"), hidden: true, onclick: () => run?.abort() }),
  };
  const hide = exported ? [] : [
    make("p", { id: "occlude-help", text: text("occlude-help") }), canvas, parts.places,
    make("p", { class: "controls" }, button("stamp", stamp), button("unstamp", reset), make("label", { class: "control" }, text("size"), " ", size)),
    parts.answer,
  ];
  root.append(...hide, make("h3", { text: text("panels") }), make("p", { text: text("about-panels") }),
    make("p", { class: "controls" }, make("button", { type: "button", id: "slide", text: text("slide"), onclick: slide }), parts.cancel),
    parts.bar, parts.panels);
  root.addEventListener("keydown", (event) => event.key === "Escape" && run?.abort());
  image();
}

export function leave() {
  run?.abort();
  run = null;
}

export function image() {
  seen = null;
  parts.panels.replaceChildren();
  if (!exported) predict();
}

/** @param {KeyboardEvent} event */
function key(event) {
  const step = event.shiftKey ? square.size : 1;
  const moves = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] };
  const by = moves[/** @type {keyof typeof moves} */ (event.key)];
  if (by) move(by[0], by[1]);
  else if (event.key === "Enter") stamp();
  else if (event.key === "Backspace" || event.key === "Delete") reset();
  else return;
  event.preventDefault();
}

/** @param {PointerEvent} event */
function point(event) {
  const box = parts.canvas.getBoundingClientRect();
  const [, height, width] = model().input;
  square.left = Math.round((event.clientX - box.left) / box.width * width - square.size / 2);
  square.top = Math.round((event.clientY - box.top) / box.height * height - square.size / 2);
  move(0, 0);
}

/** @param {number} down @param {number} right */
function move(down, right) {
  const [, height, width] = model().input;
  square.top = Math.min(Math.max(0, square.top + down), height - square.size);
  square.left = Math.min(Math.max(0, square.left + right), width - square.size);
  predict();
}

function stamp() {
  if (stamped.length < 60) stamped.push({ ...square });
  predict();
}

function reset() {
  stamped = [];
  predict();
}

function paint() {
  const pen = parts.canvas.getContext("2d");
  const { scale } = parts;
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = "#808080";
  pen.fillRect(0, 0, parts.canvas.width, parts.canvas.height);
  if (seen) pen.drawImage(seen, 0, 0, parts.canvas.width, parts.canvas.height);
  for (const { top, left, size } of stamped) pen.fillRect(left * scale, top * scale, size * scale, size * scale);
  const { top, left, size } = square;
  pen.fillRect(left * scale, top * scale, size * scale, size * scale);
  Object.assign(pen, { lineWidth: 3, strokeStyle: "#e08214" });
  pen.strokeRect(left * scale + 1.5, top * scale + 1.5, size * scale - 3, size * scale - 3);
  parts.places.textContent = text("square", { ...square, count: stamped.length });
}

async function predict(own = ++wanted) {
  paint();
  if (!state.blob) return;
  if (asking) {
    again = own;
    return;
  }
  asking = true;
  // The answer of an image or model that is no longer chosen is not shown.
  const [blob, into] = [state.blob, parts];
  const current = () => blob === state.blob && into === parts;
  const hidden = [...stamped, square].map(({ top, left, size }) => `${top},${left},${size}`).join(";");
  try {
    const said = await askOfImage(`v1/predict/${model().name}?k=5&seen=true&hide=${hidden}`);
    const [first] = said.predictions;
    if (own === wanted) at("status").textContent = text("first", { class: first.class, percent: percent(first.probability) });
    if (current()) parts.answer.replaceChildren(topTable(said.predictions));
    if (current() && !seen) {
      seen = new Image();
      seen.src = said.seen;
      await seen.decode();
      if (current()) paint();
    }
  } catch (error) {
    if (own === wanted) fail(error);
  }
  asking = false;
  const next = again;
  again = 0;
  if (next) predict(next);
}

async function slide() {
  run?.abort();
  parts.panels.replaceChildren();
  if (!state.blob) {
    at("status").textContent = text("no-image");
    return;
  }
  const own = new AbortController();
  run = own;
  wanted += 1;
  parts.bar.hidden = parts.cancel.hidden = false;
  try {
    const path = `v1/occlude/${model().name}`;
    panels(await askSlowly(path, own.signal, (done, of) => Object.assign(parts.bar, { value: done, max: of })), path);
  } catch (error) {
    if (run === own && own.signal.aborted) at("status").textContent = text("cancelled");
    else if (run === own) fail(error);
  }
  if (run === own) parts.bar.hidden = parts.cancel.hidden = true;
}

/** @param {any} said @param {string} path where it was asked for */
function panels(said, path) {
  const { activation, probability, labels } = said;
  const worst = percent(probability.least);
  const summary = text("occluded", { class: said.class.class, whole: percent(said.class.probability), worst });
  at("status").textContent = summary;
  const captions = {
    a: text("seen"), b: text("panel-b", { map: said.channel, layer: said.layer }), c: text("panel-c", { map: said.channel }),
    d: text("panel-d", { class: said.class.class }), e: text("panel-e"),
  };
  const { height, width } = probability;
  const rows = Array.from({ length: height }, (_, y) => labels.slice(y * width, (y + 1) * width));
  const words = make("table", { class: "numbers" }, make("caption", { text: captions.e }),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((/** @type {string} */ one) => make("td", { text: one }))))));
  parts.panels.replaceChildren(make("p", { text: summary }),
    figure(make("img", { src: said.image, alt: captions.a, class: "map" }), `(a) ${captions.a}`),
    figure(picture(activation, said.activation_scale, captions.b), `(b) ${captions.b}`, activation),
    figure(make("img", { src: said.projection, alt: captions.c, class: "map" }), `(c) ${captions.c}`),
    figure(picture(probability, said.probability_scale, captions.d), `(d) ${captions.d}`, probability),
    make("figure", {}, make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": captions.e }, words), make("figcaption", { text: `(e) ${captions.e}` })),
    legend(said.probability_scale),
    make("p", { class: "warning", text: said.warning }),
    copied(exported ? command(["top5", "occlude", model().name, fileName(), "--size", String(said.size), "--stride", String(said.stride)]) : posting(path)));
}

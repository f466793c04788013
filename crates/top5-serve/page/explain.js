// Why A and not B: a map of what speaks for one class against another, by any method, beside the image; with the check whether
// the map has anything to do with what the network learnt.

import {
  aside, ask, askSlowly, at, command, copied, exported, fail, fileName, labelled, make, model, number, percent, posting, said, say, select, state, text,
} from "./core.js";
import { figure, legend, picture, shared } from "./maps.js";

const METHODS = ["gradient", "deconvnet", "guided", "gradient-times-input", "integrated-gradients", "smoothgrad", "grad-cam",
  "hires-cam", "guided-grad-cam", "occlusion", "rise", "ablation"];
const OF_LAYERS = ["grad-cam", "hires-cam", "guided-grad-cam"];

/** @type {AbortController | null} */
let run = null;
/** @type {Record<string, any>} */
let parts = {};
/** Layers that have maps. @type {string[]} */
let maps = [];

/** The method and the layer that the address names, where there are such. */
const method = () => (METHODS.includes(said("method")) ? said("method") : "grad-cam");
const layer = () => (maps.includes(said("layer")) ? said("layer") : "");

/** @param {HTMLElement} root */
export async function show(root) {
  const name = model().name;
  const [{ classes }, { layers, usual }] = await Promise.all(
    [ask(`v1/models/${name}/classes`), ask(`v1/models/${name}/layers`)]);
  maps = layers.filter((/** @type {any} */ one) => one.map).map((/** @type {any} */ one) => one.name);
  const names = make("datalist", { id: "classes" }, ...classes.map((/** @type {string} */ one) => make("option", { value: one })));
  const typed = (/** @type {string} */ key) => make("input", {
    list: "classes", value: said(key), autocomplete: "off", placeholder: key === "class" ? text("top") : "",
    onchange: (/** @type {any} */ event) => say({ [key]: event.target.value }),
  });
  const among = labelled("layer", select(maps.map((name) => [name, name]), layer() || usual, (value) => say({ layer: value })));
  among.hidden = !OF_LAYERS.includes(method());
  const choose = (/** @type {string} */ value) => {
    say({ method: value });
    among.hidden = !OF_LAYERS.includes(value);
  };
  const sanity = make("input", {
    type: "checkbox", checked: said("sanity") === "1",
    onchange: (/** @type {any} */ event) => say({ sanity: event.target.checked ? "1" : null }),
  });
  parts = {
    go: make("button", { type: "button", id: "explain", text: text("explain"), onclick: image }),
    cancel: make("button", { type: "button", text: text("cancel"), hidden: true, onclick: () => run?.abort() }),
    bar: make("progress", { "aria-label": text("progress"), value: 0, max: 1, hidden: true }),
    out: make("div", { id: "explanation" }),
  };
  root.append(names, make("form", { class: "controls", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
    labelled("method", select(METHODS.map((one) => [one, one]), method(), choose)), among,
    ...(exported ? [] : [labelled("of", typed("class")), labelled("against", typed("against"))]),
    ...(exported ? [] : [labelled("sanity", sanity)]), parts.go, parts.cancel), parts.bar, parts.out);
  root.addEventListener("keydown", (event) => event.key === "Escape" && run?.abort());
}

export function leave() {
  run?.abort();
  run = null;
}

/** The query of a question. @param {Record<string, string>} words */
function query(words) {
  const all = new URLSearchParams({ method: method() });
  if (OF_LAYERS.includes(method()) && layer()) all.set("layer", layer());
  // Of what is computed beforehand, each method has one map.
  if (exported) return `v1/explain/${model().name}?method=${method()}`;
  for (const [key, value] of Object.entries(words)) if (value) all.set(key, value);
  return `v1/explain/${model().name}?${all}`;
}

export async function image() {
  run?.abort();
  parts.out.replaceChildren();
  if (!state.blob) {
    at("status").textContent = text("no-image");
    return;
  }
  const own = new AbortController();
  run = own;
  parts.cancel.hidden = parts.bar.hidden = false;
  at("status").textContent = text("explaining");
  const told = { percent: 0 };
  const progress = (/** @type {number} */ done, /** @type {number} */ of) => {
    Object.assign(parts.bar, { value: done, max: of });
    const tenth = Math.floor(10 * done / of) * 10;
    if (tenth > told.percent && tenth < 100) at("status").textContent = text("so-far", { percent: tenth });
    told.percent = tenth;
  };
  const [a, b] = [said("class"), said("against")];
  const questions = b && !exported
    ? [{ class: a, against: b }, { class: a }, { class: b }]
    : [{ class: a, sanity: said("sanity") }];
  try {
    /** @type {any[]} */
    const answers = [];
    for (const words of questions) answers.push(await askSlowly(query(/** @type {any} */ (words)), own.signal, progress));
    draw(answers, query(/** @type {any} */ (questions[0])));
  } catch (error) {
    // One that another took the place of says nothing.
    if (run === own && own.signal.aborted) at("status").textContent = text("cancelled");
    else if (run === own) fail(error);
  }
  if (run === own) parts.cancel.hidden = parts.bar.hidden = true;
}

/** A photograph under a map. @param {any} answer @param {any} scale @param {string} name */
function overlay(answer, scale, name) {
  const over = picture(answer.map, scale, name);
  over.style.opacity = said("opacity", "0.6");
  const slider = make("input", {
    type: "range", min: 0, max: 1, step: 0.05, value: said("opacity", "0.6"),
    oninput: (/** @type {any} */ event) => { over.style.opacity = event.target.value; },
    onchange: (/** @type {any} */ event) => say({ opacity: event.target.value }),
  });
  const box = make("div", { class: "over" }, make("img", { src: answer.image, alt: "", class: "map" }), over);
  return make("figure", {}, box, make("figcaption", { text: name }), labelled("opacity", slider));
}

/** @param {any[]} answers of the difference, and of its two classes where two were asked for @param {string} path that of the first */
function draw(answers, path) {
  const [first] = answers;
  const scale = shared(answers.map((answer) => answer.scale));
  const subject = (/** @type {any} */ answer) =>
    answer.against ? `${aside(answer.class.class)} − ${aside(answer.against.class)}` : answer.class.class;
  const caption = (/** @type {any} */ answer) => `${first.method.name}: ${subject(answer)}`;
  const facts = answers.filter((answer) => answer.fact !== "varies")
    .map((answer) => `${subject(answer)}: ${text(answer.fact === "constant" ? "constant" : "no-evidence")}`);
  const summary = text("explained", {
    class: subject(first), percent: percent(first.class.probability),
    low: number(first.map.least, { maximumSignificantDigits: 4 }), high: number(first.map.most, { maximumSignificantDigits: 4 }),
  });
  at("status").textContent = summary;
  const figures = [
    figure(make("img", { src: first.image, alt: text("seen"), class: "map" }), text("seen")),
    overlay(first, scale, text("laid-over", { name: caption(first) })),
    ...answers.map((answer) => figure(picture(answer.map, scale, caption(answer)), caption(answer), answer.map)),
  ];
  if (first.projection) figures.push(figure(make("img", { src: first.projection, alt: text("projected"), class: "map" }), text("projected")));
  const words = ["top5", "explain", first.method.name, model().name, fileName(), "--class", first.class.class];
  if (first.against) words.push("--against", first.against.class);
  if (first.layer) words.push("--layer", first.layer);
  parts.out.replaceChildren(
    ...(first.warning ? [make("p", { class: "warning", text: first.warning })] : []),
    make("p", { text: summary }), make("p", { text: text(`means-${first.method.name}`) }),
    ...first.notes.map((/** @type {string} */ note) => make("p", { class: "note", text: note })),
    ...facts.map((fact) => make("p", { class: "warning", text: fact })),
    legend(scale), make("div", { class: "figures" }, ...figures, ...sane(first, scale)), copied(exported ? command(words) : posting(path)));
}

/** The same of new weights, and how alike the two are. @param {any} answer @param {any} scale */
function sane(answer, scale) {
  if (!answer.sanity) return [];
  const { map, spearman } = answer.sanity;
  const own = { ...scale, ...range(map.values, scale.low < 0) };
  const alike = text(spearman === null ? "sanity-constant" : "sanity-alike", {
    spearman: spearman === null ? "" : number(spearman, { maximumFractionDigits: 3 }),
  });
  return [figure(picture(map, own, text("sanity-map")), `${text("sanity-map")}. ${alike}`, map)];
}

/** @param {number[]} values @param {boolean} even */
function range(values, even) {
  let [low, high] = [0, 0];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const most = Math.max(high, -low);
  return even ? { low: -most, high: most } : { low, high };
}

// How features change: while a network learns, from a folder of `top5 evolve`, epoch by epoch; and when an image is moved, scaled and
// turned, from one of `top5 invariance`.

import { aside, at, labelled, make, number, percent, said, say, select, table, text } from "./core.js";
import { again, chart, chosen, cut, note, pictureAt, place } from "./results.js";

/** Milliseconds between epochs while it plays. */
const PACE = 1200;

/** @type {number | undefined} */
let playing;

/** @param {HTMLElement} root */
export async function show(root) {
  const again = () => { leave(); root.replaceChildren(...[...root.children].slice(0, 2)); show(root); };
  const parts = [make("section", { id: "evolution" }), make("section", { id: "invariance" })];
  root.append(...parts);
  const evolution = await chosen("evolution", parts[0], again);
  if (evolution) learning(parts[0], evolution);
  const invariance = await chosen("invariance", parts[1], again, "curves");
  if (invariance) curves(parts[1], invariance);
}

export function leave() {
  clearInterval(playing);
  playing = undefined;
}

/** @param {HTMLElement} root @param {any} result */
function learning(root, result) {
  const told = result.document;
  const last = told.epochs.length - 1;
  const layer = () => told.layers.find((/** @type {any} */ one) => one.name === said("layer")) ?? told.layers[0];
  const now = () => place("epoch", told.epochs.length, last);
  const out = make("div", { id: "epoch", class: "tiles" });
  const changes = make("p", { id: "changes" });
  const jumps = make("div");
  const slider = make("input", {
    type: "range", id: "epochs", min: 0, max: last, step: 1, value: String(now()),
    oninput: (/** @type {any} */ event) => go(Number(event.target.value), false),
    onchange: (/** @type {any} */ event) => go(Number(event.target.value), true),
  });
  const draw = () => {
    const at_ = now();
    const epoch = told.epochs[at_];
    slider.value = String(at_);
    slider.setAttribute("aria-valuetext", text("epoch-of", { epoch, last: told.epochs[last] }));
    const changed = layer().maps.filter((/** @type {any} */ map) => map.jumps.includes(epoch));
    const named = (/** @type {any} */ map) => {
      const strongest = map.strongest[at_];
      return strongest ? text("map-now", { map: map.map, image: strongest.name, class: strongest.class }) : text("dead-map", { map: map.map });
    };
    const words = changed.length ? text("changed", { epoch, maps: changed.map(named).join(text("and")) }) : text("unchanged", { epoch });
    changes.textContent = words;
    at("status").textContent = words;
    out.replaceChildren(...layer().maps.map((/** @type {any} */ map) => make("figure", { class: `tile${changed.includes(map) ? " changed" : ""}` },
      cut(pictureAt(result, layer().sheet), map.places[at_], named(map)),
      make("figcaption", { text: `${changed.includes(map) ? "★ " : ""}${text("map-short", { map: map.map })}` }))));
  };
  const source = () => {
    const cell = (/** @type {any} */ strongest) => (strongest ? `${aside(strongest.name)} (${aside(strongest.class)}) ${strongest.value}` : "–");
    jumps.replaceChildren(table(text("sources-of", { layer: layer().name }), [text("map"), ...told.epochs.map((/** @type {number} */ epoch) => text("epoch-short", { epoch }))],
      layer().maps.map((/** @type {any} */ map) => [String(map.map), ...map.strongest.map(cell)])));
  };
  /** @param {number} to @param {boolean} step whether Back comes here */
  const go = (to, step) => {
    const value = String(Math.min(last, Math.max(0, to)));
    if (step) say({ epoch: value });
    else note("epoch", value);
    draw();
  };
  const play = make("button", { type: "button", id: "play", text: text("play"), onclick: () => toggle() });
  const toggle = () => {
    if (playing !== undefined) {
      leave();
    } else {
      if (now() === last) go(0, false);
      playing = setInterval(() => {
        if (now() < last) go(now() + 1, false);
        if (now() >= last) toggle();
      }, PACE);
    }
    play.textContent = text(playing === undefined ? "play" : "pause");
  };
  const choices = told.layers.map((/** @type {any} */ one) => [one.name, one.name]);
  // Whoever wants nothing to move goes by steps.
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  root.append(make("h3", { text: text("while-learning") }), make("p", { text: text("evolution-of", { network: told.network, images: number(told.images), data: told.data }) }),
    make("p", { class: "warning", text: told.warning }),
    make("p", { class: "controls" }, labelled("layer", select(choices, layer().name, (name) => {
      say({ layer: name });
      draw();
      source();
    })), labelled("epoch", slider), make("button", { type: "button", id: "before", text: text("previous-epoch"), onclick: () => go(now() - 1, true) }),
    make("button", { type: "button", id: "after", text: text("next-epoch"), onclick: () => go(now() + 1, true) }), ...(still ? [] : [play])),
    changes, out, make("details", {}, make("summary", { text: text("table") }), jumps),
    ...again(result, ["evolve", "RUN", "--data", told.data, "--images", String(told.images), "--out"]));
  draw();
  source();
}

/** @param {HTMLElement} root @param {any} result */
function curves(root, result) {
  const told = result.document;
  root.append(make("h3", { text: text("when-changed") }), make("p", { text: text("invariance-of", { network: told.network }) }));
  const units = new Map(["translation", "scale", "rotation"].map((kind, i) => [kind, told.units[i]]));
  for (const one of told.images) {
    const name = text("curves-of", { file: one.file, transform: text(`by-${one.transform}`), class: one.class });
    const x = one.points.map((/** @type {any} */ point) => point.amount);
    const of = (/** @type {number} */ at) => one.points.map((/** @type {any} */ point) => point.distances[at]);
    const probability = one.points.map((/** @type {any} */ point) => point.probability);
    const rows = one.points.map((/** @type {any} */ point) => [point.amount, ...point.distances, point.probability].map(String));
    root.append(make("h4", { text: name }), make("div", { class: "figures" },
      ...told.layers.map((/** @type {string} */ layer, /** @type {number} */ at) => make("figure", { class: "curve" },
        chart(x, of(at), text("distance-of", { layer, name })), make("figcaption", { text: text("distance", { layer }) }))),
      make("figure", { class: "curve" }, chart(x, probability, text("probability-of", { class: one.class, name }), 1),
        make("figcaption", { text: text("probability-short", { class: one.class, least: percent(Math.min(...probability)) }) }))),
    make("details", { class: "points" }, make("summary", { text: text("table") }),
      table(name, [units.get(one.transform) ?? one.transform, ...told.layers.map((/** @type {string} */ layer) => text("distance", { layer })), text("probability")], rows)));
  }
  const files = [...new Set(told.images.map((/** @type {any} */ one) => one.file))];
  root.append(...again(result, ["invariance", "MODEL", ...files.map(String), "--layers", told.layers.join(","), "--out"]));
}

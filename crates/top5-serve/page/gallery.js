// A gallery: the strongest patches of each map beside their projections, from a folder of `top5 gallery`; and where each was found.

import { at, labelled, make, number, said, say, select, table, text } from "./core.js";
import { again, chosen, cut, note, pictureAt, place } from "./results.js";

/** @type {any} */
let result = null;
/** @type {any} */
let told = null;
/** @type {HTMLElement} */
let cards;
/** @type {HTMLElement} */
let details;

/** @param {HTMLElement} root */
export async function show(root) {
  result = await chosen("gallery", root, () => { root.replaceChildren(...[...root.children].slice(0, 2)); show(root); });
  if (!result) return;
  told = result.document;
  cards = make("div", { id: "cards", class: "tiles" });
  details = make("div", { id: "details", tabindex: "-1" });
  const layers = told.layers.map((/** @type {any} */ layer) => [layer.name, text("layer-maps", { layer: layer.name, count: number(layer.maps.length) })]);
  const dead = make("input", {
    type: "checkbox", checked: said("dead") === "1",
    onchange: (/** @type {any} */ event) => {
      say({ dead: event.target.checked ? "1" : null });
      fill();
    },
  });
  root.append(make("p", { text: text("gallery-of", { images: number(told.images), data: told.data, split: told.split }) }),
    make("p", { class: "warning", text: told.warning }),
    make("p", { class: "controls" },
      labelled("layer", select(layers, layer().name, (name) => {
        say({ layer: name, map: null });
        fill();
        detail(false);
      })),
      labelled("find-map", make("input", {
        type: "search", id: "find", value: said("find"),
        oninput: (/** @type {any} */ event) => {
          note("find", event.target.value);
          fill();
        },
      })), labelled("dead-too", dead)), cards, details,
    ...again(result, ["gallery", "MODEL", "--data", told.data, "--split", told.split, "--images", String(told.images), "--layers", layer().name, "--out"]));
  fill();
  detail(false);
}

const layer = () => told.layers.find((/** @type {any} */ one) => one.name === said("layer")) ?? told.layers[0];

/** What was found of a map, the strongest first. @param {number} map */
const examples = (map) => layer().examples.filter((/** @type {any} */ one) => one.map === map);

/** A map in words: its classes and its strongest activation. @param {number} map */
function words(map) {
  const found = examples(map);
  if (found.length === 0) return text("dead-map", { map });
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { class: name } of found) counts.set(name, (counts.get(name) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => (count > 1 ? `${name} (${count})` : name)).join(text("and"));
  return text("map-answers", { map, value: number(found[0].value, { maximumSignificantDigits: 4 }), classes: most });
}

/** The maps that fit what is looked for: a number, or a part of a class's name. */
function fill() {
  const wanted = said("find").trim().toLowerCase();
  const fits = (/** @type {number} */ map) => wanted === "" || String(map) === wanted ||
    examples(map).some((/** @type {any} */ one) => one.class.toLowerCase().includes(wanted));
  const alive = (/** @type {number} */ map) => said("dead") === "1" || !layer().dead.includes(map);
  const found = layer().maps.filter((/** @type {number} */ map) => alive(map) && fits(map));
  cards.replaceChildren(...found.map((/** @type {number} */ map) => make("button", {
    type: "button", class: "tile", "data-map": map, onclick: () => {
      say({ map: String(map) });
      detail(true);
    },
  }, drawn(map, words(map)), make("span", { text: text("map-short", { map }) }))));
  at("status").textContent = text("found-maps", { count: number(found.length), all: number(layer().maps.length) });
}

/** The part of a sheet that shows a map. @param {number} map @param {string} name */
function drawn(map, name) {
  const spot = layer().places[layer().maps.indexOf(map)];
  return cut(pictureAt(result, layer().sheets[spot.sheet]), spot, name);
}

/** One map: its patches, and a row for each of them. @param {boolean} focus */
function detail(focus) {
  details.replaceChildren();
  const map = place("map", Infinity);
  if (!layer().maps.includes(map)) return;
  const found = examples(map);
  const size = frame();
  const box = (/** @type {any} */ { top, left, height, width }) => text("box", { top, left, height, width });
  const rows = found.map((/** @type {any} */ one) => [String(one.rank), String(one.value), one.class, one.name,
    `${one.unit[0]}, ${one.unit[1]}`, make("span", {}, framed(one.rectangle, size, text("sees", { name: one.name, box: box(one.rectangle) })), " ", box(one.rectangle)),
    one.source ? box(one.source) : ""]);
  const back = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    say({ map: null });
    detail(false);
    /** @type {HTMLElement | null} */ (cards.querySelector(`[data-map="${map}"]`))?.focus();
  };
  details.onkeydown = back;
  const large = drawn(map, words(map));
  large.classList.add("large");
  details.append(make("h3", { text: `${layer().name}: ${words(map)}` }),
    ...(found.length ? [make("figure", {}, large, make("figcaption", { text: text("patches-projections") })),
      table(text("strongest-of", { map, layer: layer().name }), ["rank", "activation", "class", "image", "unit", "receptive", "in-source"].map((key) => text(key)), rows)] : []));
  if (focus) details.focus();
}

/** The height and width that holds all receptive fields of the gallery: those of the network's input. */
function frame() {
  const all = told.layers.flatMap((/** @type {any} */ one) => one.examples).map((/** @type {any} */ one) => one.rectangle);
  return ["height", "width"].map((side) => Math.max(1, ...all.map((/** @type {any} */ one) => one[side] + one[side === "height" ? "top" : "left"])));
}

/** A rectangle in the input, to scale. @param {any} rectangle @param {number[]} size @param {string} name */
function framed(rectangle, [height, width], name) {
  const shape = (/** @type {string} */ tag, /** @type {Record<string, string | number>} */ attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    return made;
  };
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width: 40, height: Math.max(8, Math.round(40 * height / width)), role: "img", class: "frame", "aria-label": name });
  svg.append(shape("rect", { x: rectangle.left, y: rectangle.top, width: rectangle.width, height: rectangle.height, class: "bar" }));
  return svg;
}

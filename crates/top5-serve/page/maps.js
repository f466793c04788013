// Maps of numbers as pictures with a name, a scale and a table: nobody has to see colours to read them.

import { make, number, text } from "./core.js";

/**
 * @typedef {{height: number, width: number, values: number[], least?: number, most?: number}} NumberMap
 * @typedef {{low: number, high: number, colours: number[][]}} Scale
 */

/** Rows and columns of the part of a table that is shown at once. */
const PART = 14;

/** The colour of a number, mixed between the two nearest of the scale. @param {Scale} scale @param {number} value */
export function colour(scale, value) {
  const { low, high, colours } = scale;
  const last = colours.length - 1;
  const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : low < 0 ? 0.5 : 0;
  const place = share * last;
  const first = Math.min(Math.floor(place), last - 1);
  return colours[first].map((from, i) => Math.round(from + (colours[first + 1][i] - from) * (place - first)));
}

/** One scale for several maps: even about zero where one has values below it. @param {Scale[]} scales @returns {Scale} */
export function shared(scales) {
  const low = Math.min(...scales.map((scale) => scale.low));
  const high = Math.max(...scales.map((scale) => scale.high));
  const widest = scales.find((scale) => scale.low < 0) ?? scales[0];
  const even = Math.max(high, -low);
  return low < 0 ? { ...widest, low: -even, high: even } : { ...widest, low, high };
}

/** A picture of a map. @param {NumberMap} map @param {Scale} scale @param {string} name what it shows, in words */
export function picture(map, scale, name) {
  const canvas = make("canvas", { width: map.width, height: map.height, role: "img", "aria-label": name, class: "map" });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(map.width, map.height);
  map.values.forEach((value, i) => {
    pixels.data.set(colour(scale, value), 4 * i);
    pixels.data[4 * i + 3] = 255;
  });
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

/** A number in the digits of the answer. @param {number} value */
const exact = (value) => String(value);

/** The numbers of a map, a part at a time. @param {NumberMap} map @param {string} name */
export function numbers(map, name) {
  const box = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name });
  const places = { row: 0, column: 0 };
  const draw = () => {
    const rows = range(places.row, map.height);
    const columns = range(places.column, map.width);
    const head = make("tr", {}, make("td"), ...columns.map((x) => make("th", { scope: "col", text: x })));
    const line = (/** @type {number} */ y) => make("tr", {}, make("th", { scope: "row", text: y }),
      ...columns.map((x) => make("td", { text: exact(map.values[y * map.width + x]) })));
    box.replaceChildren(make("table", { class: "numbers" },
      make("caption", { text: name }), make("thead", {}, head), make("tbody", {}, ...rows.map(line))));
  };
  const first = (/** @type {"row" | "column"} */ key, /** @type {number} */ size) => make("label", { class: "control" },
    text(key), " ", make("input", {
      type: "number", min: 0, max: Math.max(0, size - PART), value: "0",
      oninput: (/** @type {any} */ event) => {
        places[key] = Math.min(Math.max(0, Number(event.target.value) || 0), Math.max(0, size - PART));
        draw();
      },
    }));
  const details = make("details", {
    ontoggle: () => details.open && !box.firstChild && draw(),
  }, make("summary", { text: text("table") }));
  if (map.height > PART) details.append(first("row", map.height), " ");
  if (map.width > PART) details.append(first("column", map.width));
  details.append(box);
  return details;
}

/** @param {number} first @param {number} size */
const range = (first, size) => Array.from({ length: Math.min(PART, size - first) }, (_, i) => first + i);

/** The scale as a strip with its ends and its middle. @param {Scale} scale */
export function legend(scale) {
  const strip = { height: 1, width: 64, values: Array.from({ length: 64 }, (_, i) => scale.low + (scale.high - scale.low) * i / 63) };
  const digits = (/** @type {number} */ value) => number(value, { maximumSignificantDigits: 3 });
  const ends = [scale.low, (scale.low + scale.high) / 2, scale.high].map(digits);
  const canvas = picture(strip, scale, text("scale", { low: ends[0], middle: ends[1], high: ends[2] }));
  canvas.className = "legend";
  return make("figure", { class: "scale" }, canvas,
    make("figcaption", {}, ...ends.map((end) => make("span", { text: end }))));
}

/** A picture with its caption and, of a map, its numbers. @param {HTMLElement} shown @param {string} caption @param {NumberMap} [map] */
export function figure(shown, caption, map) {
  return make("figure", {}, shown, make("figcaption", { text: caption }), ...(map ? [numbers(map, caption)] : []));
}

// An evaluation: what a network said of images whose classes are known. How it was measured, beside what was published; classes;
// which class was taken for which, down to the images.

import { at, make, number, percent, said, say, table, text } from "./core.js";
import { again, chosen, note, pictureAt, place } from "./results.js";

/** Rows and columns of the matrix that are shown at once. */
const PART = 10;
/** Images that are listed at once, and confusions. */
const LISTED = 100;
const OFTEN = 12;

/** @type {any} */
let result = null;
/** @type {any} */
let told = null;
/** Numbers of the images of each cell, by class and what it was taken for. @type {Map<number, number[]>} */
let cells = new Map();
/** @type {Record<string, HTMLElement>} */
let parts = {};

const classes = () => told.per_class;
const name = (/** @type {number} */ at) => classes()[at].class;
const images = (/** @type {number} */ row, /** @type {number} */ column) => cells.get(row * classes().length + column) ?? [];
const share = (/** @type {number} */ value) => percent(value / 100);

/** @param {HTMLElement} root */
export async function show(root) {
  result = await chosen("evaluation", root, () => { root.replaceChildren(...[...root.children].slice(0, 2)); show(root); });
  if (!result) return;
  told = result.document;
  cells = new Map();
  told.answers.label.forEach((/** @type {number} */ label, /** @type {number} */ at) => {
    const taken = told.answers.taken[at];
    if (taken === null) return;
    const key = label * classes().length + taken;
    const found = cells.get(key);
    if (found) found.push(at);
    else cells.set(key, [at]);
  });
  parts = { matrix: make("div", { id: "matrix" }), listed: make("div", { id: "listed", tabindex: "-1" }) };
  const verdict = text("verdict", {
    network: told.network, data: told.data, images: number(told.images),
    top1: share(told.top1), low1: share(told.top1_interval[0]), high1: share(told.top1_interval[1]),
    top5: share(told.top5), low5: share(told.top5_interval[0]), high5: share(told.top5_interval[1]),
  });
  at("status").textContent = verdict;
  root.append(make("p", { text: verdict }), beside(), make("h3", { text: text("confusion") }), ...confusion(),
    make("h3", { text: text("by-class") }), ...byClass(), make("h3", { text: text("mistakes") }), mistakes(),
    make("h3", { text: text("measured") }), ...measured());
  matrix();
  list(false);
}

/** Errors here and as published. */
function beside() {
  const digits = (/** @type {number} */ value) => number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const rows = told.published.map((/** @type {string[]} */ row) => [row[0], ...row.slice(1)]);
  const shown = table(text("beside"), ["image", "protocol", "top1", "top5"].map((key) => text(key)),
    [[`${text("here")}: ${told.data} (${told.split})`, told.protocol, digits(100 - told.top1), digits(100 - told.top5)], ...rows]);
  return rows.length ? shown : make("div", {}, shown, make("p", { class: "soft", text: text("unpublished") }));
}

/** A class that is typed or chosen. @param {string} typed */
function numberOf(typed) {
  const exact = classes().findIndex((/** @type {any} */ one) => one.class === typed);
  if (exact >= 0) return exact;
  const wanted = typed.trim().toLowerCase();
  return wanted === "" ? -1 : classes().findIndex((/** @type {any} */ one) => one.class.toLowerCase().includes(wanted));
}

/** The matrix, a part at a time, ways to go to a cell, and the cell's images. */
function confusion() {
  const goes = (/** @type {"class" | "taken"} */ key) => make("label", { class: "control" }, text(key === "class" ? "class" : "taken-for"), " ",
    make("input", {
      list: "known-classes", id: `go-${key}`, autocomplete: "off",
      onchange: (/** @type {any} */ event) => {
        const found = numberOf(event.target.value);
        if (found < 0) {
          at("status").textContent = text("no-class", { class: event.target.value });
          return;
        }
        const [row, column] = [key === "class" ? found : place("is", classes().length, 0), key === "taken" ? found : place("taken", classes().length, 0)];
        go(row, column);
      },
    }));
  const known = make("datalist", { id: "known-classes" }, ...classes().map((/** @type {any} */ one) => make("option", { value: one.class })));
  const pairs = [...cells].map(([key, all]) => [Math.floor(key / classes().length), key % classes().length, all.length])
    .filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]).slice(0, OFTEN);
  const often = pairs.map(([row, column, count]) => make("li", {}, make("button", {
    type: "button", text: text("confused", { class: name(row), taken: name(column), count: number(count) }),
    onclick: () => go(row, column),
  })));
  return [make("p", { text: text("confusion-help") }), known,
    ...(classes().length > PART ? [make("p", { class: "controls" }, goes("class"), goes("taken"))] : []),
    parts.matrix, parts.listed,
    ...(often.length ? [make("h4", { text: text("often") }), make("ul", { class: "strip" }, ...often)] : [])];
}

/** The first row or column of the part that shows a place. @param {number} at */
const first = (at) => Math.max(0, Math.min(classes().length - PART, at - at % PART));

/** Shows a cell's images. @param {number} row @param {number} column */
function go(row, column) {
  say({ is: String(row), taken: String(column) });
  matrix();
  list(true);
}

/** Draws the part of the matrix where the chosen cell is; `focus` is a cell that gets it. @param {[number, number]} [focus] */
function matrix(focus) {
  const count = classes().length;
  const [row, column] = focus ?? [place("is", count, 0), place("taken", count, 0)];
  const range = (/** @type {number} */ from) => Array.from({ length: Math.min(PART, count) }, (_, i) => from + i);
  const [rows, columns] = [range(first(row)), range(first(column))];
  const cut = (/** @type {string} */ words) => ([...words].length > 14 ? `${[...words].slice(0, 13).join("")}…` : words);
  const body = rows.map((y) => make("tr", {}, make("th", { scope: "row", text: name(y) }), ...columns.map((x) => {
    const found = images(y, x).length;
    const of = classes()[y].images;
    const shade = found === 0 ? 0 : Math.ceil(4 * found / Math.max(1, of));
    return make("td", {
      role: "gridcell", tabindex: y === row && x === column ? "0" : "-1", text: found === 0 ? "·" : number(found),
      class: `cell shade-${shade}${y === x ? " right" : ""}`, "data-at": `${y} ${x}`,
      "aria-label": text("confused", { class: name(y), taken: name(x), count: number(found) }),
      "aria-selected": y === place("is", count) && x === place("taken", count) ? "true" : "false",
    });
  })));
  const shown = make("table", { role: "grid", class: "matrix", onkeydown: keys, onclick: click },
    make("caption", { text: text("matrix", { count: number(count) }) }),
    make("thead", {}, make("tr", {}, make("td"), ...columns.map((x) => make("th", { scope: "col", text: cut(name(x)), "aria-label": name(x) })))),
    make("tbody", {}, ...body));
  parts.matrix.replaceChildren(make("div", { class: "wide" }, shown));
  if (focus) /** @type {HTMLElement | null} */ (parts.matrix.querySelector("[tabindex='0']"))?.focus();
}

/** @param {any} target */
const cellOf = (target) => target.closest(".cell")?.dataset.at.split(" ").map(Number);

/** @param {Event} event */
function click(event) {
  const found = cellOf(event.target);
  if (found) go(found[0], found[1]);
}

/** Arrows move, also beyond what is shown; Enter lists the images. @param {KeyboardEvent} event */
function keys(event) {
  const found = cellOf(event.target);
  if (!found) return;
  const [row, column] = found;
  const last = classes().length - 1;
  /** @type {Record<string, [number, number]>} */
  const moves = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    PageUp: [row - PART, column], PageDown: [row + PART, column], Home: [row, 0], End: [row, last],
  };
  const move = moves[event.key];
  if (event.key === "Enter" || event.key === " ") go(row, column);
  else if (move) matrix([Math.min(last, Math.max(0, move[0])), Math.min(last, Math.max(0, move[1]))]);
  else return;
  event.preventDefault();
}

/** Lists exactly the images of the chosen cell. @param {boolean} focus whether the list gets the focus */
function list(focus) {
  const [row, column] = [place("is", classes().length), place("taken", classes().length)];
  parts.listed.replaceChildren();
  if (row < 0 || column < 0) return;
  const all = images(row, column);
  const words = text("confused", { class: name(row), taken: name(column), count: number(all.length) });
  const shown = make("ul", { class: "photos" });
  const more = make("button", { type: "button", text: text("more"), onclick: () => add() });
  const add = () => {
    shown.append(...all.slice(shown.children.length, shown.children.length + LISTED).map(item));
    more.hidden = shown.children.length >= all.length;
  };
  add();
  const back = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") matrix([row, column]);
  };
  parts.listed.onkeydown = back;
  parts.listed.append(make("h4", { text: words }), shown, more);
  at("status").textContent = words;
  if (focus) parts.listed.focus();
}

/** An image with what was said of it. @param {number} at */
function item(at) {
  const { image, taken, probability, label } = told.answers;
  const address = pictureAt(result, `${at}.png`);
  return make("li", {},
    ...(address ? [make("img", { src: address, alt: text("photo-of", { class: name(label[at]) }), loading: "lazy", class: "photo" })] : []),
    make("span", { class: "name", text: image[at] }), " ",
    make("span", { class: "soft", text: text("said-of", { class: name(label[at]), taken: name(taken[at]), percent: percent(probability[at] ?? NaN) }) }));
}

/** The classes, the worst first. */
function byClass() {
  const out = make("div", { id: "by-class" });
  const fill = () => {
    const wanted = said("find").toLowerCase();
    const found = classes().map((/** @type {any} */ one, /** @type {number} */ at) => [one, at])
      .filter((/** @type {any} */ [one]) => one.images > 0 && one.class.toLowerCase().includes(wanted))
      .sort((/** @type {any} */ [a], /** @type {any} */ [b]) => a.top1 - b.top1);
    const rows = found.map((/** @type {any} */ [one, index]) => [
      make("button", { type: "button", class: "sort", text: one.class, onclick: () => go(index, worst(index)) }),
      number(one.images), share(one.top1), share(one.top5)]);
    out.replaceChildren(table(text("classes-worst", { count: number(rows.length) }),
      [text("class"), text("images"), "top-1", "top-5"], rows));
  };
  fill();
  const search = make("input", {
    type: "search", id: "search", value: said("find"),
    oninput: (/** @type {any} */ event) => {
      note("find", event.target.value);
      fill();
    },
  });
  return [make("p", {}, make("label", { class: "control" }, text("search"), " ", search)), out];
}

/** What a class is most often taken for, or itself. @param {number} row */
function worst(row) {
  const others = classes().map((/** @type {any} */ _, /** @type {number} */ at) => at).filter((/** @type {number} */ at) => at !== row);
  const most = others.reduce((/** @type {number} */ best, /** @type {number} */ at) => (images(row, at).length > images(row, best).length ? at : best), others[0] ?? row);
  return images(row, most).length ? most : row;
}

/** Wrong answers, the most certain first. */
function mistakes() {
  if (told.suspects.length === 0) return make("p", { text: text("no-mistakes") });
  const numbers = new Map(told.answers.image.map((/** @type {string} */ image, /** @type {number} */ at) => [image, at]));
  const rows = told.suspects.map((/** @type {any} */ one) => {
    const number_ = numbers.get(one.image);
    const address = number_ === undefined ? null : pictureAt(result, `${number_}.png`);
    return [make("span", {}, ...(address ? [make("img", { src: address, alt: text("photo-of", { class: one.class }), loading: "lazy", class: "photo" }), " "] : []), one.image),
      one.class, one.taken_for, percent(one.probability), percent(one.of_class)];
  });
  const shown = table(text("mistakes-about"), ["image", "class", "taken-for", "probability", "of-its-class"].map((key) => text(key)), rows);
  shown.id = "mistakes";
  return shown;
}

function measured() {
  const { origin, calibration } = told;
  const facts = [["protocol", told.protocol], ["source", origin.protocol.source], ["choices", (origin.ensemble ?? origin.protocol).choices?.join("; ")],
    ["preprocess", told.preprocess], ["weights", origin.weights], ["fingerprint", origin.fingerprint], ["fitted", origin.fitted?.join("; ")],
    ["loss", number(told.loss ?? Infinity, { maximumFractionDigits: 4 })], ["ece", number(calibration.ece, { maximumFractionDigits: 4 })],
    ["skipped", told.skipped ? number(told.skipped) : ""]].filter(([, value]) => value);
  const bins = calibration.bins.map((/** @type {any} */ bin, /** @type {number} */ at) => [bin, at]).filter((/** @type {any} */ [bin]) => bin.images > 0);
  const border = (/** @type {number} */ at) => percent(at / calibration.bins.length);
  const rows = bins.map((/** @type {any} */ [bin, at]) => [`${border(at)} – ${border(at + 1)}`, number(bin.images), percent(bin.confidence), percent(bin.right / bin.images)]);
  const words = told.members ? undefined : ["eval", "MODEL", "--data", told.data, "--split", told.split, "--protocol", origin.protocol.name, "--report"];
  return [make("dl", {}, ...facts.flatMap(([key, value]) => [make("dt", { text: text(key) }), make("dd", { text: value })])),
    table(text("reliability"), ["first-probability", "images", "mean", "right"].map((key) => text(key)), rows),
    ...again(result, words)];
}

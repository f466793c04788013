// One image, all networks: their answers side by side as they come, with what each cost.

import { aside, askOfImage, at, command, copied, exported, fileName, make, number, percent, posting, said, say, state, text } from "./core.js";

/** Columns: name, value to sort by, what is shown. @type {[string, (row: Row) => any, (row: Row) => Node | string][]} */
const COLUMNS = [
  ["network", (row) => row.model.name, (row) => row.model.name],
  ["answer", (row) => row.answer?.predictions[0].class ?? "", top],
  ["year", (row) => row.model.published?.year ?? 0, (row) => String(row.model.published?.year ?? "")],
  ["error", (row) => error(row) ?? Infinity, (row) => (error(row) === undefined ? "" : `${number(error(row))} %`)],
  ["params", (row) => row.model.params, (row) => number(row.model.params)],
  ["macs", (row) => row.model.macs, (row) => number(row.model.macs)],
  ["ms", (row) => row.answer?.milliseconds.forward ?? Infinity,
    (row) => (row.answer ? number(row.answer.milliseconds.forward, { maximumFractionDigits: 1 }) : "")],
];

/** @typedef {{model: import("./core.js").Model, answer: any, failure: string}} Row */

/** @type {Row[]} */
let rows = [];
/** @type {HTMLElement} */
let body;
/** @type {HTMLElement} */
let words;
/** @type {HTMLElement} */
let lines;
/** @type {AbortController | null} */
let run = null;

/** The published top-5 error, or top-1 where there is no other. @param {Row} row */
function error(row) {
  const first = row.model.published?.errors[0];
  return first?.top5 ?? first?.top1 ?? undefined;
}

/** @param {Row} row @returns {Node | string} */
function top(row) {
  if (row.failure) return row.failure;
  if (!row.answer) return "";
  return make("ol", { class: "top" }, ...row.answer.predictions.map((/** @type {any} */ one) =>
    make("li", { text: `${aside(one.class)} ${percent(one.probability)}` })));
}

/** @param {HTMLElement} root */
export function show(root) {
  rows = state.models.map((model) => ({ model, answer: null, failure: "" }));
  body = make("tbody");
  words = make("p");
  lines = make("div");
  const heads = COLUMNS.map(([key]) => make("th", { scope: "col" }, make("button", {
    type: "button", class: "sort", text: text(key), onclick: () => sort(key),
  })));
  root.append(words, make("div", { class: "wide" },
    make("table", { id: "champions" }, make("caption", { text: text("view-champions") }),
      make("thead", {}, make("tr", {}, ...heads)), body)), lines);
  fill();
  image();
}

export function leave() {
  run?.abort();
}

/** What is asked of a model. @param {string} name */
const asking = (name) => `v1/predict/${name}?k=5`;

/** @param {string} key */
function sort(key) {
  const down = said("sort") === key && !said("down");
  say({ sort: key, down: down ? "1" : null });
  fill();
}

function fill() {
  const key = said("sort");
  const down = Boolean(said("down"));
  const column = COLUMNS.find(([known]) => known === key);
  const sorted = [...rows];
  if (column) {
    const [, value] = column;
    sorted.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
    if (down) sorted.reverse();
  }
  body.replaceChildren(...sorted.map((row) => make("tr", {}, ...COLUMNS.map(([name, , shown], at) =>
    make(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : { class: ["network", "answer"].includes(name) ? "" : "number" }, shown(row))))));
  const heads = /** @type {HTMLTableElement} */ (body.parentElement).tHead?.rows[0].cells ?? [];
  COLUMNS.forEach(([name], i) => {
    if (name === key) heads[i].setAttribute("aria-sort", down ? "descending" : "ascending");
    else heads[i].removeAttribute("aria-sort");
  });
}

export async function image() {
  run?.abort();
  for (const row of rows) Object.assign(row, { answer: null, failure: "" });
  words.textContent = "";
  fill();
  lines.replaceChildren();
  if (!state.blob) return;
  lines.append(...rows.map(({ model: { name } }) => copied(exported
    ? command(["top5", "predict", fileName(), "--model", name, "--json"]) : posting(asking(name)))));
  const own = new AbortController();
  run = own;
  at("status").textContent = text("waiting");
  for (const row of rows) {
    try {
      row.answer = await askOfImage(asking(row.model.name), own.signal);
    } catch (failure) {
      row.failure = /** @type {Error} */ (failure).message;
    }
    if (own.signal.aborted) return;
    if (row === rows[0]) announce(row);
    fill();
  }
  words.textContent = agreement(rows.filter((row) => row.answer));
}

/** @param {Row} row */
function announce(row) {
  const first = row.answer?.predictions[0];
  at("status").textContent = first
    ? text("first", { class: first.class, percent: percent(first.probability) })
    : text("failed", { reason: row.failure });
}

/** Who says what, in words. @param {Row[]} answered */
function agreement(answered) {
  if (answered.length < 2) return "";
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  for (const row of answered) {
    const name = row.answer.predictions[0].class;
    groups.set(name, [...(groups.get(name) ?? []), row.model.name]);
  }
  const list = (/** @type {string[]} */ names) => names.join(text("and"));
  if (groups.size === 1) return text("agree", { count: answered.length, class: [...groups.keys()][0] });
  return [...groups].map(([name, who]) => text("says", { who: list(who), class: name })).join(text("but"));
}

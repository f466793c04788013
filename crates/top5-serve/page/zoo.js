// The zoo: all networks of the registry, sortable and to be searched, each with its paper.

import { ask, at, command, copied, make, number, said, say, text } from "./core.js";

/** @type {[string, (row: any) => any, (row: any) => Node | string][]} */
const COLUMNS = [
  ["name", (row) => row.name, (row) => row.name],
  ["year", (row) => row.year, (row) => String(row.year)],
  ["input", (row) => (row.input ? row.input[1] : 0), (row) => row.input?.join(" × ") ?? text("ensemble")],
  ["params", (row) => row.params, (row) => number(row.params)],
  ["macs", (row) => row.macs, (row) => number(row.macs)],
  ["top1", (row) => row.published[0]?.top1 ?? Infinity, (row) => error(row, "top1")],
  ["top5", (row) => row.published[0]?.top5 ?? Infinity, (row) => error(row, "top5")],
  ["paper", (row) => row.paper, paper],
];

/** @param {any} row @param {"top1" | "top5"} key */
const error = (row, key) => {
  const value = row.published[0]?.[key] ?? null;
  return value === null ? "" : `${number(value, { minimumFractionDigits: 1 })} %`;
};

/** @param {any} row */
function paper(row) {
  return row.arxiv ? make("a", { href: `https://arxiv.org/abs/${row.arxiv}`, rel: "noreferrer", text: row.paper }) : row.paper;
}

/** @type {any[]} */
let rows = [];

/** @param {HTMLElement} root */
export async function show(root) {
  rows = (await ask("v1/zoo")).models;
  const body = make("tbody");
  const search = make("input", {
    type: "search", id: "search", value: said("search"),
    oninput: (/** @type {any} */ event) => {
      history.replaceState(null, "", with_("search", event.target.value));
      fill(body);
    },
  });
  const heads = COLUMNS.map(([key]) => make("th", { scope: "col" }, make("button", {
    type: "button", class: "sort", text: text(key),
    onclick: () => {
      say({ sort: key, down: said("sort") === key && !said("down") ? "1" : null });
      fill(body);
    },
  })));
  root.append(make("p", {}, make("label", { class: "control" }, text("search"), " ", search)),
    make("div", { class: "wide" }, make("table", { id: "zoo" }, make("caption", { text: text("view-zoo") }),
      make("thead", {}, make("tr", {}, ...heads)), body)),
    copied(command(["top5", "models", "--json"])));
  fill(body);
}

/** @param {string} key @param {string} value */
function with_(key, value) {
  const words = new URLSearchParams(location.hash.slice(1));
  if (value) words.set(key, value);
  else words.delete(key);
  return `#${words}`;
}

/** @param {HTMLElement} body */
function fill(body) {
  const wanted = said("search").toLowerCase();
  const found = rows.filter((row) => `${row.name} ${row.aliases.join(" ")} ${row.family} ${row.paper}`.toLowerCase().includes(wanted));
  const column = COLUMNS.find(([key]) => key === said("sort"));
  if (column) {
    const [, value] = column;
    found.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
    if (said("down")) found.reverse();
  }
  body.replaceChildren(...found.map((row) => make("tr", {}, ...COLUMNS.map(([key, , shown], at) =>
    make(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : { class: ["paper"].includes(key) ? "" : "number" }, shown(row))))));
  const heads = /** @type {HTMLTableElement} */ (body.parentElement)?.tHead?.rows[0].cells;
  COLUMNS.forEach(([key], i) => {
    if (!heads) return;
    if (key === said("sort")) heads[i].setAttribute("aria-sort", said("down") ? "descending" : "ascending");
    else heads[i].removeAttribute("aria-sort");
  });
  at("status").textContent = text("found", { count: number(found.length), all: number(rows.length) });
}

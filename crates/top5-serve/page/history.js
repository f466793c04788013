// The history of the contest, 2010 to 2017: who erred how often, and what each step brought; and lessons, as addresses of this page.

import { address, ask, command, copied, make, number, table, text } from "./core.js";

const SOURCES = {
  contest: "https://image-net.org/challenges/LSVRC/",
  human: "https://arxiv.org/abs/1409.0575",
};

/** Lessons: a text and the words of an address. @type {[string, Record<string, string>][]} */
const LESSONS = [
  ["lesson-kernel", { view: "kernel", input: "7", kernel: "3", padding: "1", stride: "2" }],
  ["lesson-stride", { view: "compare", a: "resnet50", b: "resnet50_v1" }],
  ["lesson-depth", { view: "compare", a: "vgg16", b: "vgg19" }],
  ["lesson-sanity", { view: "explain", method: "guided", sanity: "1" }],
  ["lesson-occlude", { view: "occlude" }],
];

/** @param {HTMLElement} root */
export async function show(root) {
  const { models, contest, human_top5_error: human } = await ask("v1/zoo");
  const known = new Map(models.map((/** @type {any} */ row) => [row.name, row]));
  const link = (/** @type {string} */ href, /** @type {string} */ words) => make("a", { href, rel: "noreferrer", text: words });
  const claim = (/** @type {any} */ entry) => {
    const row = known.get(entry.network);
    if (!row) return link(SOURCES.contest, text("contest-page"));
    return row.arxiv ? link(`https://arxiv.org/abs/${row.arxiv}`, row.paper) : make("span", {}, row.paper, " ", link(SOURCES.contest, text("contest-page")));
  };
  const rows = contest.map((/** @type {any} */ entry) => [
    `${entry.year} ${entry.name}`, `${number(entry.top5_error)}\u00a0%`, text(entry.winner ? "won" : "took-part"),
    entry.network ? make("a", { href: address({ view: "zoo", search: entry.network }), text: entry.network }) : "", claim(entry),
  ]);
  root.append(chart(contest, human),
    make("p", {}, text("human", { percent: number(human) }), " ", link(SOURCES.human, "Russakovsky et al., IJCV 2015")),
    table(text("contest"), ["entry", "error", "result", "network", "source"].map((key) => text(key)), rows),
    make("h3", { text: text("lessons") }),
    make("ul", {}, ...LESSONS.map(([key, words]) => make("li", {}, make("a", { href: address({ ...words, sort: null, down: null }), text: text(key) })))),
    copied(command(["top5", "models", "--plot", "history.svg"])));
}

const NAMESPACE = "http://www.w3.org/2000/svg";

/** @param {string} tag @param {Record<string, string | number>} attributes @param {string} [content] */
function shape(tag, attributes, content = "") {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.textContent = content;
  return made;
}

/** The winners as bars. @param {any[]} contest @param {number} human */
function chart(contest, human) {
  const winners = contest.filter((entry) => entry.winner);
  const [width, height, bottom, top] = [640, 300, 260, 20];
  const y = (/** @type {number} */ error) => bottom - error / 30 * (bottom - top);
  const step = width / winners.length;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart", "aria-label": text("chart") });
  const place = (/** @type {number} */ i) => ({ x: i * step + step * 0.15, width: step * 0.7 });
  winners.forEach((entry, i) => {
    svg.append(shape("rect", { ...place(i), y: y(entry.top5_error), height: bottom - y(entry.top5_error), class: "bar" }));
  });
  svg.append(shape("line", { x1: 0, x2: width, y1: y(human), y2: y(human), class: "human" }));
  winners.forEach((entry, i) => {
    const label = (/** @type {number} */ at, /** @type {string} */ words, style = "") => shape("text", {
      x: place(i).x + step * 0.35, y: at, "text-anchor": "middle", class: style,
    }, words);
    svg.append(label(y(entry.top5_error) - 5, number(entry.top5_error)), label(bottom + 15, String(entry.year)), label(bottom + 31, entry.name, "small"));
  });
  return make("figure", {}, svg, make("figcaption", { text: text("chart") }));
}

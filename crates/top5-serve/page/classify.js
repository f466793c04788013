// One image, one network: the five most probable classes, and the model's card.

import { askOfImage, at, command, copied, exported, fail, fileName, make, model, number, percent, posting, state, text } from "./core.js";

/** @type {AbortController | null} */
let run = null;
/** @type {HTMLElement} */
let answer;

/** @param {HTMLElement} root */
export function show(root) {
  answer = make("div", { id: "answer" });
  root.append(answer, card());
  image();
}

export function leave() {
  run?.abort();
}

export async function image() {
  run?.abort();
  answer.replaceChildren();
  if (!state.blob) return;
  const own = new AbortController();
  run = own;
  at("status").textContent = text("waiting");
  try {
    const path = `v1/predict/${model().name}?k=5`;
    const said = await askOfImage(path, own.signal);
    if (own.signal.aborted) return;
    const [first] = said.predictions;
    at("status").textContent = text("first", { class: first.class, percent: percent(first.probability) });
    const line = exported ? command(["top5", "predict", fileName(), "--model", model().name]) : posting(path);
    const ms = Object.entries(said.milliseconds).map(([key, value]) => [key, number(/** @type {number} */ (value), { maximumFractionDigits: 2 })]);
    answer.replaceChildren(topTable(said.predictions),
      make("p", { class: "soft", text: text("times", Object.fromEntries(ms)) }), copied(line));
  } catch (error) {
    if (!own.signal.aborted) fail(error);
  }
}

/** The classes with their probabilities. @param {{class: string, probability: number}[]} predictions */
export function topTable(predictions) {
  const rows = predictions.map((one) => make("tr", {},
    make("th", { scope: "row", text: one.class }),
    make("td", { class: "number", text: percent(one.probability) }),
    make("td", { class: "bar", "aria-hidden": "true" }, make("meter", { value: one.probability, "aria-hidden": "true" }))));
  return make("table", {}, make("caption", { text: text("answer") }),
    make("thead", {}, make("tr", {}, make("th", { scope: "col", text: text("class") }),
      make("th", { scope: "col", text: text("probability") }), make("td", { "aria-hidden": "true" }))),
    make("tbody", {}, ...rows));
}

/** What is published of a model's network, in a line. @param {any} published */
export function errors(published) {
  const error = published?.errors[0];
  if (!error) return "";
  const parts = [["top-1", error.top1], ["top-5", error.top5]].filter(([, value]) => value !== null);
  return `${parts.map(([name, value]) => `${name} ${number(value)} %`).join(", ")} (${error.set}, ${error.protocol})`;
}

function card() {
  const shown = model();
  const paper = shown.published;
  const rows = [["network", shown.network]];
  if (paper) {
    rows.push(["paper", `${paper.authors}, “${paper.title}”, ${paper.venue}, ${paper.year}`]);
    if (errors(paper)) rows.push(["published", errors(paper)]);
  }
  rows.push(["input", shown.input.join(" × ")], ["classes", number(shown.classes)]);
  rows.push(["params", number(shown.params)], ["macs", number(shown.macs)], ["layers", number(shown.layers)]);
  rows.push(["preprocess", shown.preprocess]);
  const structure = () => make("div", { class: "structure", tabindex: "0", role: "group", "aria-label": text("structure") },
    make("img", { src: `v1/models/${shown.name}/structure.svg`, alt: `${text("structure")}: ${shown.network}`, loading: "lazy" }));
  return make("section", { "aria-labelledby": "card-title" },
    make("h3", { id: "card-title", text: text("card") }),
    make("dl", { id: "card" }, ...rows.flatMap(([key, value]) => [make("dt", { text: text(key) }), make("dd", { text: value })])),
    ...(exported ? [] : [make("details", {}, make("summary", { text: text("structure") }), structure())]));
}

// What all views share: texts, elements, the state in the address, and questions to the server.

import { TEXTS } from "./texts.js";

/**
 * @typedef {{name: string, network: string, input: number[], classes: number, params: number, macs: number, layers: number,
 *   preprocess: string, drawn_digits: boolean, explains: boolean, published: any}} Model
 */

/** @type {{language: string, models: Model[], blob: Blob | null, file: string, sample: string | null}} */
export const state = { language: "en", models: [], blob: null, file: "", sample: null };

/**
 * Answers that were computed beforehand, in an exported page. Those about images lie in scripts of their own, by the number of the
 * question, and come into `parts` when they are asked for: together they may be hundreds of megabytes.
 * @type {{answers: Record<string, any>, questions: Record<string, number>, parts: Record<string, any>[], pictures: string[]} | undefined}
 */
export const exported = /** @type {any} */ (globalThis).TOP5;

/** @template {HTMLElement} T @param {string} id @returns {T} */
export const at = (id) => /** @type {T} */ (document.getElementById(id));

/** What is written from right to left, or turns round what follows. */
const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/;

/** A name of others as it may stand in a line of ours: whatever way it is written, the words around it keep their order. @param {string} name */
export const aside = (name) => (TURNS.test(name) ? `\u2068${name}\u2069` : name);

/** A text in the language of the page. @param {string} key @param {Record<string, unknown>} [values] */
export function text(key, values = {}) {
  return TEXTS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => aside(String(values[name])));
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export const number = (value, options) => value.toLocaleString(state.language === "zh" ? "zh-CN" : "en", options);

/** @param {number} share */
export const percent = (share) => `${number(100 * share, { minimumFractionDigits: 2, maximumFractionDigits: 2 })}\u00a0%`;

/**
 * An element: `text` is its text, `on…` listen, others are attributes; `false` and undefined are left out.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "value") /** @type {any} */ (made).value = value;
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A control with its label. @param {string} key @param {HTMLElement} control */
export const labelled = (key, control) => make("label", { class: "control" }, text(key), " ", control);

/** A choice. @param {[string, string][]} choices values with their texts @param {string} chosen @param {(value: string) => void} change */
export function select(choices, chosen, change) {
  const options = choices.map(([value, name]) => make("option", { value, text: name }));
  const made = make("select", { onchange: (/** @type {any} */ event) => change(event.target.value) }, ...options);
  made.value = choices.some(([value]) => value === chosen) ? chosen : choices[0]?.[0] ?? "";
  return made;
}

/** A table. @param {string} caption @param {string[]} head @param {(Node | string)[][]} rows */
export function table(caption, head, rows) {
  const cell = (/** @type {Node | string} */ content, /** @type {number} */ column) =>
    column === 0 ? make("th", { scope: "row" }, content) : make("td", {}, content);
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {},
      make("caption", { text: caption }),
      make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col", text: name })))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))))));
}

// What the address says is what is shown: reload and Back keep it.

/** @param {string} key @param {string} [otherwise] */
export const said = (key, otherwise = "") => new URLSearchParams(location.hash.slice(1)).get(key) ?? otherwise;

/** The address that says this beside what is said already. @param {Record<string, string | null>} words */
export function address(words) {
  const all = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(words)) {
    if (value === null || value === "") all.delete(key);
    else all.set(key, value);
  }
  return `#${all}`;
}

/** Says it. @param {Record<string, string | null>} words */
export function say(words) {
  const next = address(words);
  if (next !== location.hash) history.pushState(null, "", next);
}

/** The model that is chosen. */
export const model = () => state.models.find((one) => one.name === said("model")) ?? state.models[0];

// Questions.

/** What a server answers; that none does is told in words. @param {string} path @param {RequestInit} [options] */
export async function fetched(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw options?.signal?.aborted ? error : new Error(text("gone"));
  }
}

/** An answer computed beforehand, or undefined. @param {string} path */
async function beforehand(path) {
  if (!exported) return undefined;
  const number = exported.questions[path];
  if (number !== undefined && !exported.parts[number]) await loaded(`answers-${number}.js`);
  const answer = number === undefined ? exported.answers[path] : exported.parts[number]?.[state.sample ?? ""];
  if (answer === undefined) throw new Error(text("beforehand"));
  return answer;
}

/** Runs a script of the folder, if it is there. @param {string} src @returns {Promise<void>} */
function loaded(src) {
  return new Promise((resolve) => {
    document.head.append(make("script", { src, onload: () => resolve(), onerror: () => resolve() }));
  });
}

/** What there is at a path. @param {string} path */
export async function ask(path) {
  return (await beforehand(path)) ?? answered(await fetched(path));
}

/** What is said of the image that is chosen. @param {string} path @param {AbortSignal} [signal] */
export async function askOfImage(path, signal) {
  return (await beforehand(path)) ?? answered(await fetched(path, { method: "POST", body: state.blob, signal }));
}

/** @param {Response} response */
async function answered(response) {
  const document = await response.json();
  if (!response.ok) throw new Error(document.error);
  return document;
}

/**
 * The same for answers that take long. @param {string} path @param {AbortSignal} signal
 * @param {(done: number, of: number) => void} progress
 */
export async function askSlowly(path, signal, progress) {
  const known = await beforehand(path);
  if (known) return known;
  const headers = { Accept: "application/x-ndjson" };
  const response = await fetched(path, { method: "POST", body: state.blob, signal, headers });
  if (!response.ok) return answered(response);
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new Error(text("cut"));
    });
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (done && rest) lines.push(rest);
    for (const line of lines) {
      const document = JSON.parse(line);
      if (document.error) throw new Error(document.error);
      if (document.of === undefined) return document;
      progress(document.done, document.of);
    }
    if (done) throw new Error(text("cut"));
  }
}

/** The words of a command as a shell takes them. @param {string[]} words */
export const command = (words) => words.map((word) => (/^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");

/** A command that gives the same, with a button that copies it. @param {string} line */
export function copied(line) {
  const code = make("code", { text: line });
  const copy = async () => {
    // There is no clipboard where a page comes from another machine without TLS: what is chosen is copied.
    const done = navigator.clipboard?.writeText(line).then(() => true, () => false);
    getSelection()?.selectAllChildren(code);
    const copied = (await done) || document.execCommand("copy");
    at("status").textContent = text(copied ? "copied" : "copy-it");
  };
  return make("p", { class: "command" }, code, " ",
    make("button", { type: "button", text: text("copy"), onclick: copy }));
}

/** The file's name, as a command may take it. */
export const fileName = () => state.file || "image.png";

/** The command that asks the same of the image's file. @param {string} path */
export const posting = (path) => command(["curl", "--data-binary", `@${fileName()}`, `${location.origin}/${path}`]);

/** Says that something did not work. @param {unknown} error */
export function fail(error) {
  at("status").textContent = text("failed", { reason: /** @type {Error} */ (error).message });
}

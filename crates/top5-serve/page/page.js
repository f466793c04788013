// The page: an image goes in, the five most probable classes come out. Plain modules; what is served is this file.

import { TEXTS } from "./texts.js";

/** @template {HTMLElement} T @param {string} id @returns {T} */
const at = (id) => /** @type {T} */ (document.getElementById(id));

const state = { language: "en", models: [], name: "", blob: null, file: "", said: null, failure: null, run: null };

/** @param {string} key @param {Record<string, unknown>} [values] */
function text(key, values = {}) {
  return TEXTS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

const number = (value) => value.toLocaleString(state.language === "zh" ? "zh-CN" : "en");

function element(tag, content, className) {
  const made = document.createElement(tag);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  return made;
}

// What the address says is what is shown: reload and Back keep it.
function remember() {
  const words = new URLSearchParams({ model: state.name, lang: state.language });
  if (`#${words}` !== location.hash) history.pushState(null, "", `#${words}`);
}

function recall() {
  const words = new URLSearchParams(location.hash.slice(1));
  const preferred = navigator.language.startsWith("zh") ? "zh" : "en";
  const language = words.get("lang") ?? preferred;
  state.language = language in TEXTS ? language : "en";
  const named = state.models.find((model) => model.name === words.get("model")) ?? state.models[0];
  state.name = named.name;
}

function show() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  const other = at("language");
  other.textContent = state.language === "zh" ? "English" : "中文";
  other.lang = state.language === "zh" ? "en" : "zh-CN";
  at("model").value = state.name;
  at("preview").alt = text("shown");
  const model = state.models.find((one) => one.name === state.name);
  at("drawing").hidden = !model.drawn_digits;
  showCard(model);
  showAnswer();
}

function showCard(model) {
  const paper = model.published;
  const rows = [["network", model.network]];
  if (paper) {
    rows.push(["paper", `${paper.authors}, “${paper.title}”, ${paper.venue}, ${paper.year}`]);
    const [error] = paper.errors;
    if (error) {
      const parts = [["top-1", error.top1], ["top-5", error.top5]].filter(([, value]) => value !== null);
      rows.push(["published", `${parts.map(([name, value]) => `${name} ${value.toFixed(2)} %`).join(", ")} (${error.set}, ${error.protocol})`]);
    }
  }
  rows.push(["input", model.input.join(" × ")], ["classes", number(model.classes)]);
  rows.push(["params", number(model.params)], ["macs", number(model.macs)], ["layers", number(model.layers)]);
  rows.push(["preprocess", model.preprocess]);
  at("card").replaceChildren(...rows.flatMap(([key, value]) => [element("dt", text(key)), element("dd", value)]));
  const picture = element("img");
  picture.src = `v1/models/${model.name}/structure.svg`;
  picture.alt = `${text("structure")}: ${model.network}`;
  picture.loading = "lazy";
  at("structure").replaceChildren(picture);
}

function showAnswer() {
  const { said, failure, run } = state;
  at("answer").hidden = !said;
  at("times").textContent = "";
  at("command").textContent = "";
  if (failure) at("status").textContent = text("failed", { reason: failure });
  else if (run) at("status").textContent = text("waiting");
  else at("status").textContent = "";
  if (!said) return;
  const rows = said.predictions.map((one) => {
    const row = element("tr");
    const percent = (100 * one.probability).toFixed(2);
    const meter = element("meter");
    meter.value = one.probability;
    meter.setAttribute("aria-hidden", "true");
    const bar = element("td", undefined, "bar");
    bar.setAttribute("aria-hidden", "true");
    bar.append(meter);
    const name = element("th", one.class);
    name.scope = "row";
    row.append(name, element("td", `${percent} %`, "number"), bar);
    return row;
  });
  at("answer").tBodies[0].replaceChildren(...rows);
  const [first] = said.predictions;
  at("status").textContent = text("first", { class: first.class, percent: (100 * first.probability).toFixed(1) });
  const ms = Object.entries(said.milliseconds).map(([key, value]) => [key, value.toFixed(2)]);
  at("times").textContent = text("times", Object.fromEntries(ms));
  at("command").textContent = `curl --data-binary @${/^[\w.-]+$/.test(state.file) ? state.file : "image.png"} ${location.origin}/v1/predict/${state.name}`;
}

async function predict() {
  state.run?.abort();
  if (!state.blob) return;
  const run = new AbortController();
  Object.assign(state, { run, failure: null });
  showAnswer();
  try {
    const answer = await fetch(`v1/predict/${state.name}?k=5`, { method: "POST", body: state.blob, signal: run.signal });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    Object.assign(state, { said, run: null });
  } catch (error) {
    if (run.signal.aborted) return;
    Object.assign(state, { said: null, failure: error.message, run: null });
  }
  showAnswer();
}

function take(file) {
  if (!file) return;
  Object.assign(state, { blob: file, file: file.name ?? "" });
  const preview = at("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  predict();
}

// Drawing, with a pointer or with the keys.
function draw() {
  const canvas = at("canvas");
  const pen = canvas.getContext("2d");
  const start = () => {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 280, 280);
    Object.assign(pen, { lineWidth: 20, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
  };
  let last = null;
  let keys = { x: 140, y: 60, down: true };
  const line = (x, y) => {
    pen.beginPath();
    pen.moveTo(last?.x ?? x, last?.y ?? y);
    pen.lineTo(x, y);
    pen.stroke();
    last = { x, y };
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * 280 / box.width, (event.clientY - box.top) * 280 / box.height];
  };
  const done = () => {
    last = null;
    canvas.toBlob((blob) => {
      Object.assign(state, { blob, file: "digit.png" });
      at("preview").hidden = true;
      predict();
    });
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    line(...place(event));
  });
  canvas.addEventListener("pointermove", (event) => last && line(...place(event)));
  canvas.addEventListener("pointerup", () => last && done());
  canvas.addEventListener("pointercancel", () => { last = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (event.key === " ") keys.down = !keys.down;
    else if (!step) return;
    event.preventDefault();
    if (!step) return;
    const from = { x: keys.x, y: keys.y };
    keys.x = Math.min(270, Math.max(10, keys.x + step[0]));
    keys.y = Math.min(270, Math.max(10, keys.y + step[1]));
    if (!keys.down) return;
    last = from;
    line(keys.x, keys.y);
    done();
  });
  at("clear").addEventListener("click", () => {
    start();
    keys = { x: 140, y: 60, down: true };
    Object.assign(state, { blob: null, said: null, failure: null });
    showAnswer();
  });
  start();
}

async function open() {
  const { models } = await (await fetch("v1/models")).json();
  state.models = models;
  at("model").replaceChildren(...models.map((model) => {
    const option = element("option", model.name);
    option.value = model.name;
    return option;
  }));
  recall();
  draw();
  show();
  at("model").addEventListener("change", (event) => {
    Object.assign(state, { name: event.target.value, said: null });
    remember();
    show();
    predict();
  });
  at("language").addEventListener("click", () => {
    state.language = state.language === "zh" ? "en" : "zh";
    remember();
    show();
  });
  at("file").addEventListener("change", (event) => take(event.target.files[0]));
  addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
  addEventListener("popstate", () => { recall(); show(); });
  const drop = at("drop");
  addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
}

open();

// A run while it trains: its whole history, then what is new, over server-sent events. The browser comes back by itself when
// the connection breaks and says where it was; a run that was killed and goes on from an earlier step is told anew.

import { shared } from "./stream.js";

/** @type {Record<string, Record<string, string>>} */
const TEXTS = {
  en: {
    now: "Now",
    losses: "Loss",
    lossesHelp: "Thin: the losses of the steps, from the least to the greatest. Blue: their mean. Orange: the validation images after each epoch.",
    shares: "Classified right",
    sharesHelp: "Blue: training images, orange: validation images; solid: top-1, dashed: top-5, in percent.",
    rates: "Learning rate",
    epochs: "Epochs",
    waiting: "Waiting for the first step …",
    running: "{network} on {data}: it trains.",
    quiet: "{network} on {data}: nothing new for {seconds} seconds. It may have been stopped.",
    finished: "{network} on {data}: finished.",
    lost: "The connection is lost; the page tries again.",
    said: "Epoch {epoch} of {epochs}: top-1 {top1} percent on the validation images, {train} percent on the training images.",
    saidTrain: "Epoch {epoch} of {epochs}: top-1 {train} percent on the training images.",
    best: "The best so far.",
    step: "Step",
    epoch: "Epoch",
    of: "{a} of {b}",
    loss: "Loss of the step",
    lr: "Learning rate",
    pace: "Images per second",
    time: "Time of training",
    left: "Left, about",
    unreadable: "Lines of the log that cannot be read",
    train_loss: "Training loss",
    train_top1: "Training top-1 %",
    train_top5: "Training top-5 %",
    eval_loss: "Validation loss",
    eval_top1: "Validation top-1 %",
    eval_top5: "Validation top-5 %",
    chart: "{title}: from {first} at step {from} to {last} at step {to}, at least {low}, at most {high}. The epochs are in the table below.",
    empty: "{title}: nothing yet",
  },
  zh: {
    now: "当前",
    losses: "损失",
    lossesHelp: "细线：各步损失的最小值到最大值；蓝色：平均值；橙色：每轮之后验证图片的损失。",
    shares: "正确率",
    sharesHelp: "蓝色：训练图片，橙色：验证图片；实线：top-1，虚线：top-5，单位为百分比。",
    rates: "学习率",
    epochs: "各轮结果",
    waiting: "等待第一步……",
    running: "{network} 正在 {data} 上训练。",
    quiet: "{network}（{data}）：已有 {seconds} 秒没有新数据，训练可能已停止。",
    finished: "{network}（{data}）：训练已完成。",
    lost: "连接中断，页面正在重试。",
    said: "第 {epoch} 轮，共 {epochs} 轮：验证图片 top-1 为百分之 {top1}，训练图片为百分之 {train}。",
    saidTrain: "第 {epoch} 轮，共 {epochs} 轮：训练图片 top-1 为百分之 {train}。",
    best: "目前最佳。",
    step: "步",
    epoch: "轮",
    of: "{a}，共 {b}",
    loss: "本步损失",
    lr: "学习率",
    pace: "每秒图片数",
    time: "训练用时",
    left: "预计剩余",
    unreadable: "日志中无法读取的行",
    train_loss: "训练损失",
    train_top1: "训练 top-1 %",
    train_top5: "训练 top-5 %",
    eval_loss: "验证损失",
    eval_top1: "验证 top-1 %",
    eval_top5: "验证 top-5 %",
    chart: "{title}：从第 {from} 步的 {first} 到第 {to} 步的 {last}，最小 {low}，最大 {high}。各轮数值见下表。",
    empty: "{title}：尚无数据",
  },
};

/** @param {string} id */
const at = (id) => /** @type {any} */ (document.getElementById(id));
const SVG = "http://www.w3.org/2000/svg";
const COLUMNS = ["epoch", "step", "train_loss", "train_top1", "train_top5", "eval_loss", "eval_top1", "eval_top5", "lr"];
/** Points that are kept; beyond, neighbours are joined. */
const MOST = 4000;

/**
 * A point of the course: step, least, mean and greatest loss, learning rate. A row is of an epoch.
 * @typedef {number[]} Point
 * @typedef {Record<string, any>} Row
 */

/** @type {{language: string, now: Record<string, any> | null, points: Point[], rows: Row[], lost: boolean, heard: number}} */
const state = { language: "en", now: null, points: [], rows: [], lost: false, heard: 0 };

/** @param {string} key @param {Record<string, unknown>} [values] */
function text(key, values = {}) {
  return TEXTS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** @param {number} value @param {number} [digits] */
function number(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
  return value.toLocaleString(state.language === "zh" ? "zh-CN" : "en", { maximumFractionDigits: digits });
}

/** @param {number} seconds */
function time(seconds) {
  const whole = Math.round(seconds);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** @param {string} tag @param {string} [content] @param {Record<string, string>} [attributes] */
function element(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  if (content !== undefined) made.textContent = content;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** @param {string} tag @param {Record<string, any>} attributes @param {string} [content] */
function shape(tag, attributes, content) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (content !== undefined) made.textContent = content;
  return made;
}

/** Least, mean and greatest of neighbours as one point. @param {Point[]} points @returns {Point[]} */
function joined(points) {
  const pairs = [];
  for (let i = 0; i < points.length; i += 2) {
    const [a, b] = [points[i], points[i + 1] ?? points[i]];
    pairs.push([b[0], Math.min(a[1], b[1]), (a[2] + b[2]) / 2, Math.max(a[3], b[3]), b[4]]);
  }
  return pairs;
}

/**
 * Lines of [x, y] with a class each, and a band between two of them, over axes with a few round values.
 * @param {string} id @param {string} title @param {{kind: string, points: number[][]}[]} lines @param {number[][]} [band]
 */
function chart(id, title, lines, band) {
  const svg = at(id);
  const [left, right, top, bottom] = [64, 630, 12, 244];
  const all = [...lines.flatMap((line) => line.points), ...(band ?? [])].filter(([, y]) => Number.isFinite(y));
  svg.replaceChildren();
  if (all.length === 0) {
    svg.setAttribute("aria-label", text("empty", { title }));
    return;
  }
  const xs = all.map(([x]) => x);
  const ys = all.map(([, y]) => y);
  const range = (/** @type {number[]} */ values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [from, to] = range(xs);
  const [low, high] = range(ys);
  // A flat line lies in the middle.
  const [base, span] = high > low ? [low, high - low] : [low - 0.5, 1];
  const x = (/** @type {number} */ value) => (left + ((value - from) / (to - from || 1)) * (right - left)).toFixed(1);
  const y = (/** @type {number} */ value) => (bottom - ((value - base) / span) * (bottom - top)).toFixed(1);
  for (let i = 0; i <= (high > low ? 4 : 0); i++) {
    const value = low + ((high - low) * i) / 4;
    svg.append(shape("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(shape("text", { x: left - 6, y: Number(y(value)) + 4, "text-anchor": "end" }, number(value, high > 10 ? 1 : 3)));
  }
  svg.append(shape("text", { x: left, y: 266 }, number(from, 0)));
  svg.append(shape("text", { x: right, y: 266, "text-anchor": "end" }, `${number(to, 0)} ${text("step")}`));
  if (band && band.length) svg.append(shape("polygon", { points: band.map(([a, b]) => `${x(a)},${y(b)}`).join(" "), class: "band" }));
  for (const line of lines) {
    const points = line.points.filter(([, value]) => Number.isFinite(value));
    if (points.length === 1) svg.append(shape("circle", { cx: x(points[0][0]), cy: y(points[0][1]), r: 3, class: `dot ${line.kind}` }));
    svg.append(shape("polyline", { points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" "), class: line.kind }));
  }
  const main = (lines.find((line) => line.points.length) ?? lines[0]).points;
  const [first, last] = [main[0], main[main.length - 1]];
  const values = { title, first: number(first[1]), from: first[0], last: number(last[1]), to: last[0], low: number(low), high: number(high) };
  svg.setAttribute("aria-label", text("chart", values));
}

/** The row of the highest top-1, the first of several. @param {Row[]} rows */
function best(rows) {
  const known = rows.filter((row) => row.eval_top1 !== undefined && row.eval_top1 !== null);
  return known.reduce((/** @type {Row | null} */ top, row) => (top === null || row.eval_top1 > top.eval_top1 ? row : top), null);
}

function sentence() {
  const row = state.rows[state.rows.length - 1];
  if (!row) return "";
  const values = { epoch: row.epoch, epochs: state.now?.epochs, top1: number(row.eval_top1, 1), train: number(row.train_top1, 1) };
  const known = row.eval_top1 !== undefined && row.eval_top1 !== null;
  const top = known && best(state.rows) === row && state.rows.length > 1 ? ` ${text("best")}` : "";
  return text(known ? "said" : "saidTrain", values) + top;
}

function show() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(/** @type {any} */ (node).dataset.text);
  at("language").textContent = state.language === "zh" ? "English" : "中文";
  at("language").lang = state.language === "zh" ? "en" : "zh-CN";
  const { now, points, rows } = state;
  if (!now) return;
  at("title").textContent = `top5 · ${now.run}`;
  document.title = `${now.run} · top5`;
  const quiet = Math.round((now.quiet_seconds ?? 0) + (performance.now() - state.heard) / 1000);
  const key = now.finished ? "finished" : now.step === null ? "waiting" : quiet > 60 ? "quiet" : "running";
  at("state").textContent = state.lost && !now.finished ? text("lost") : text(key, { ...now, seconds: quiet });
  // Only an epoch is worth being read aloud.
  const spoken = sentence();
  if (at("said").textContent !== spoken) at("said").textContent = spoken;
  const facts = [];
  if (now.step) {
    const { step, epoch, loss, lr } = now.step;
    const total = now.steps_expected;
    facts.push(["epoch", text("of", { a: epoch, b: now.epochs })]);
    facts.push(["step", total ? text("of", { a: number(step, 0), b: number(total, 0) }) : number(step, 0)]);
    facts.push(["loss", number(loss)], ["lr", number(lr, 6)]);
    if (now.images_per_second !== null) facts.push(["pace", number(now.images_per_second, 0)]);
    facts.push(["time", time(now.seconds)]);
    if (total && !now.finished && now.seconds > 0) facts.push(["left", time((now.seconds / step) * Math.max(0, total - step))]);
    if (now.unreadable_lines) facts.push(["unreadable", number(now.unreadable_lines, 0)]);
  }
  at("now").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", text(name)), element("dd", value)]));
  const band = [...points.map((p) => [p[0], p[1]]), ...points.map((p) => [p[0], p[3]]).reverse()];
  const of = (/** @type {string} */ name) => rows.map((row) => [row.step, row[name] ?? NaN]);
  chart("loss", text("losses"), [{ kind: "train", points: points.map((p) => [p[0], p[2]]) }, { kind: "eval", points: of("eval_loss") }], band);
  const shares = [["train", "train_top1"], ["train dashed", "train_top5"], ["eval", "eval_top1"], ["eval dashed", "eval_top5"]];
  chart("share", text("shares"), shares.map(([kind, name]) => ({ kind, points: of(name) })));
  chart("rate", text("rates"), [{ kind: "train", points: points.map((p) => [p[0], p[4]]) }]);
  at("table").tHead.rows[0].replaceChildren(...COLUMNS.map((name) => element("th", text(name), { scope: "col" })));
  const row = (/** @type {Row} */ values) => {
    const made = element("tr");
    made.append(...COLUMNS.map((name) => element("td", values[name] === undefined ? "" : String(values[name]))));
    return made;
  };
  at("table").tBodies[0].replaceChildren(...rows.map(row));
  at("command").textContent = `top5 report ${now.run}`;
}

let asked = false;
/** At most one picture per frame, and none while nobody sees the page. */
function soon() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    show();
  });
}

/** @param {string} kind @param {string} [data] */
function take(kind, data) {
  state.lost = kind === "lost";
  if (data !== undefined) {
    const { points, rows, ...now } = JSON.parse(data);
    state.heard = performance.now();
    state.now = now;
    state.points = kind === "history" ? points : [...state.points, ...points];
    state.rows = kind === "history" ? rows : [...state.rows, ...rows];
    while (state.points.length > MOST) state.points = joined(state.points);
  }
  soon();
}

const words = new URLSearchParams(location.hash.slice(1));
const wanted = words.get("lang") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
state.language = Object.hasOwn(TEXTS, wanted) ? wanted : "en";
at("language").addEventListener("click", () => {
  state.language = state.language === "zh" ? "en" : "zh";
  history.pushState(null, "", `#lang=${state.language}`);
  show();
});
addEventListener("popstate", () => {
  const language = new URLSearchParams(location.hash.slice(1)).get("lang");
  if (language && Object.hasOwn(TEXTS, language)) state.language = language;
  show();
});
show();
shared(take);
setInterval(soon, 5000);

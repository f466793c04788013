// Opens every view of a running `top5 serve` in Chromium and looks for faults, at 320 and 1440 pixels, in light, dark and forced
// colours: requests to other hosts, errors in the console, content wider than the window, what axe finds. Then it does in each view
// what a user would, by keyboard, and compares with what the API says.
//
//     npm install playwright-core axe-core      (Debian has chromium)
//     top5 serve lenet other=lenet
//     top5 page export site
//     node scripts/page.mjs http://127.0.0.1:8000 [DIR for screenshots, or -] [site]
//
// One line per window and task; the exit status is 0 if all are clean.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { createRequire } from "node:module";

const [base, shots, site] = process.argv.slice(2);
const folder = shots === "-" ? undefined : shots;
const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
const VIEWS = ["classify", "champions", "explain", "occlude", "walk", "compare", "kernel", "zoo", "history"];
const MODEL = "lenet-digits";

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let clean = true;

/** A page that keeps what goes wrong in it. */
async function open(hash, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on("request", (request) => {
    if (![base, "blob:", "data:"].some((start) => request.url().startsWith(start))) page.problems.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (line) => ["error", "warning"].includes(line.type()) && page.problems.push(line.text()));
  await page.goto(`${base}/#lang=en&${hash}`);
  const view = new URLSearchParams(hash).get("view");
  await page.waitForFunction((name) => document.body.dataset.ready === name, view);
  return page;
}

/** What axe finds: through the debugger, since the page's policy runs no script of others. */
async function violations(page, preload = true) {
  const debug = await page.context().newCDPSession(page);
  await debug.send("Runtime.evaluate", { expression: axe });
  const expression =
    `axe.run({ preload: ${preload}, runOnly: ${JSON.stringify(TAGS)} })` +
    ".then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`))";
  const found = await debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  return found.result.value ?? [String(found.exceptionDetails?.exception?.description)];
}

const status = (page) => page.textContent("#status");
const until = (page, test, argument) => page.waitForFunction(test, argument, { timeout: 20000 });
const says = (page, words) => until(page, (wanted) => document.querySelector("#status").textContent.includes(wanted), words);
const check = (page, truth, problem) => truth || page.problems.push(problem);

/** The third sample, by keyboard. */
async function choose(page, digit = 3) {
  await page.locator(".sample").nth(digit).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#preview:not([hidden])");
}

/** Brings a view to the state that is worth looking at. */
async function fill(page, view) {
  const looks = ["classify", "champions", "explain", "occlude", "walk"].includes(view);
  if (looks) await choose(page);
  if (view === "classify") await page.waitForSelector("#answer table");
  if (view === "champions") await until(page, () => document.querySelectorAll("#champions ol").length === 2);
  if (view === "explain") {
    await page.click("#explain");
    await page.waitForSelector("#explanation figure");
  }
  if (view === "occlude") {
    await page.click("#slide");
    await page.waitForSelector("#panels figure");
  }
  if (view === "walk") await page.waitForSelector(".strip");
}

async function look(width, colours) {
  const forced = colours === "forced" ? { forcedColors: "active" } : { colorScheme: colours };
  for (const view of VIEWS) {
    const page = await open(`view=${view}&model=${MODEL}`, { viewport: { width, height: 900 }, ...forced });
    try {
      await fill(page, view);
    } catch (error) {
      page.problems.push(error.message);
    }
    if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) page.problems.push("wider than the window");
    page.problems.push(...await violations(page));
    if (folder && colours !== "forced") {
      await page.screenshot({ path: path.join(folder, `${view}-${width}-${colours}.png`), fullPage: true });
    }
    report(`${view} ${width} ${colours}`, page.problems);
    await page.context().close();
  }
}

function report(what, problems) {
  console.log(what, problems.length ? `\n  ${problems.join("\n  ")}` : "clean");
  clean &&= problems.length === 0;
}

const ask = async (page, at) => (await page.request.get(`${base}/${at}`)).json();

/** What each view must let a user do. Names are those of the views. */
const TASKS = {
  async classify(page) {
    await choose(page, 7);
    await says(page, "Most probable: 7");
    check(page, await page.locator("#answer tbody tr").count() === 5, "not five classes");
    // A drawn stroke, by keys.
    await page.click("#drawing summary");
    await page.focus("#canvas");
    for (let i = 0; i < 16; i++) await page.keyboard.press("ArrowDown");
    await says(page, "Most probable: 1");
    await page.setInputFiles("#file", { name: "x.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg/>") });
    await says(page, "That did not work");
    await page.setInputFiles("#file", { name: "<img src=x onerror=alert(1)>.png", mimeType: "image/png", buffer: await sample(page, 4) });
    await says(page, "Most probable: 4");
    // The language survives a reload, and Back undoes it.
    await page.focus("#language");
    await page.keyboard.press("Enter");
    await until(page, () => document.documentElement.lang === "zh-CN");
    await page.reload();
    await until(page, () => document.documentElement.lang === "zh-CN" && document.body.dataset.ready);
    await page.goBack();
    await until(page, () => document.documentElement.lang === "en");
  },
  async champions(page) {
    await choose(page, 2);
    await until(page, () => document.querySelectorAll("#champions ol").length === 2);
    await says(page, "Most probable: 2");
    await until(page, () => document.querySelector("#view").textContent.includes("All 2 networks say 2"));
    await page.setInputFiles("#file", { name: "8.png", mimeType: "image/png", buffer: await sample(page, 8) });
    await says(page, "Most probable: 8");
    await page.locator("#champions .sort").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("#champions [aria-sort=ascending]");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#champions [aria-sort=descending]");
    const first = await page.textContent("#champions tbody th");
    check(page, first === "other", `sorted first: ${first}`);
    await page.setInputFiles("#file", { name: "p.pgm", mimeType: "image/png", buffer: Buffer.from(PIXEL, "base64") });
    await page.waitForSelector("#pixel");
  },
  async explain(page) {
    await choose(page, 3);
    await page.focus("#explain");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#explanation figure canvas");
    await says(page, "Why 3");
    // The table is the API's numbers.
    await page.locator("#explanation figure details summary").last().focus();
    await page.keyboard.press("Enter");
    const cells = await page.locator("#explanation .numbers tbody tr").first().locator("td").allTextContents();
    const answer = await page.request.post(`${base}/v1/explain/${MODEL}?method=grad-cam`, { data: await sample(page, 3) });
    const { map } = await answer.json();
    check(page, cells.length === 14 && cells.every((cell, i) => Number(cell) === map.values[i]), `table ${cells} is not ${map.values.slice(0, 14)}`);
    // Why 3 and not 8: three maps on one scale.
    await page.fill("input[list=classes] >> nth=0", "3");
    await page.fill("input[list=classes] >> nth=1", "8");
    await page.keyboard.press("Tab");
    await page.click("#explain");
    await until(page, () => document.querySelectorAll("#explanation figure > canvas").length === 4);
    check(page, new URL(page.url()).hash.includes("against=8"), "the address does not say against what");
    // The warned methods carry their warning, and new weights their correlation.
    for (const method of ["deconvnet", "guided"]) {
      await page.goto(`${base}/#lang=en&view=explain&model=${MODEL}&method=${method}&sanity=1`);
      await page.reload();
      await until(page, () => document.body.dataset.ready === "explain");
      await choose(page, 3);
      await page.click("#explain");
      await until(page, () => document.querySelector("#explanation")?.textContent.includes("Rank correlation"));
      check(page, (await page.textContent("#explanation .warning")).includes("say little"), `${method} carries no warning`);
    }
    // A long one is cancelled within a second.
    await page.goto(`${base}/#lang=en&view=explain&model=${MODEL}&method=rise`);
    await page.reload();
    await until(page, () => document.body.dataset.ready === "explain");
    await choose(page, 3);
    await page.evaluate(() => {
      document.querySelector("#explain").click();
      document.querySelector("#explain + button").click();
    });
    await page.waitForFunction(() => document.querySelector("#status").textContent === "Cancelled.", null, { timeout: 1000 });
  },
  async occlude(page) {
    await choose(page, 3);
    await says(page, "Most probable");
    await page.focus(".lab");
    const before = await page.textContent("#behind");
    const started = Date.now();
    for (let i = 0; i < 10; i++) await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelector("#view").textContent.includes("1 left behind"));
    await until(page, (old) => document.querySelector("#behind").textContent !== old, before);
    check(page, Date.now() - started < 2000, `eleven moves took ${Date.now() - started} ms`);
    await page.keyboard.press("Delete");
    await until(page, () => document.querySelector("#view").textContent.includes("0 left behind"));
    await page.focus("#slide");
    await page.keyboard.press("Enter");
    await until(page, () => document.querySelectorAll("#panels > figure figcaption").length >= 5);
  },
  async walk(page) {
    await choose(page, 3);
    await page.locator(".layer").nth(1).focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector(".tile");
    await page.locator(".tile").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("#unit-row");
    await page.fill("#unit-row", "9");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#total");
    const [value, total] = [await page.textContent("#value"), await page.textContent("#total")].map(Number);
    check(page, Math.abs(value - total) <= 1e-6 * Math.max(1, Math.abs(value)), `the sum is ${total}, the value ${value}`);
    await page.focus("#unit-row");
    for (const wanted of [".tile", ".strip"]) {
      await page.keyboard.press("Escape");
      if (wanted === ".tile") await page.keyboard.press("Escape");
      await page.waitForSelector(wanted);
    }
  },
  async compare(page) {
    await page.waitForSelector("#differences table");
    const rows = await page.locator("#differences .wide").last().locator("tbody tr").allTextContents();
    // A stride in each of three stages, and the rounding of the first pooling.
    const strides = rows.filter((row) => /^layer[234]\.0\.conv[12]/.test(row) && row.includes("/2"));
    check(page, rows.length === 7 && strides.length === 6, `differences: ${rows}`);
    const header = Buffer.from(JSON.stringify({ "a.weight": { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    let asked = 0;
    page.on("request", () => { asked += 1; });
    await page.setInputFiles("#weights", { name: "w.safetensors", mimeType: "", buffer: Buffer.concat([length, header, Buffer.alloc(24)]) });
    await says(page, "1 tensors of 6 values");
    await page.setInputFiles("#weights", { name: "w.safetensors", mimeType: "", buffer: Buffer.from("PK\u0003\u0004 something else") });
    await says(page, "this is no safetensors file");
    check(page, asked === 0, "the file left the page");
  },
  async kernel(page) {
    const set = async (name, value) => {
      await page.fill(`input[name=${name}]`, String(value));
      await page.keyboard.press("Tab");
    };
    // Sizes are the graph's: LeNet's first convolution and a strided one of ResNet's form.
    for (const [input, kernel, stride, padding, width] of [[12, 5, 1, 0, 8], [7, 3, 2, 1, 4], [8, 7, 2, 3, 4]]) {
      for (const [name, value] of Object.entries({ input, kernel, stride, padding })) await set(name, value);
      const words = await page.textContent("#bench-size");
      check(page, words.includes(`× ${width} × ${width}`), `${input} ${kernel} ${stride} ${padding}: ${words}`);
    }
    const before = await page.textContent("#bench-total");
    await page.focus("canvas.bench");
    await page.keyboard.press("ArrowRight");
    await until(page, () => location.hash.includes("at=1"));
    await page.reload();
    await page.waitForSelector("#bench-total");
    check(page, (await page.textContent("#bench-total")) !== before, "the kernel did not move");
    await set("groups", 3);
    await says(page, "cannot be split into 3 groups");
    await set("groups", 1);
    await set("input", 1);
    await set("padding", 0);
    await says(page, "there is no place for it");
  },
  async zoo(page) {
    const { models } = await ask(page, "v1/zoo");
    check(page, await page.locator("#zoo tbody tr").count() === models.length, "not every network has a row");
    await page.fill("#search", "squeeze");
    const shown = await page.locator("#zoo tbody tr").count();
    check(page, shown < models.length, "the search finds everything");
    await page.fill("#search", "vgg");
    await page.locator("#zoo .sort", { hasText: "Parameters" }).focus();
    await page.keyboard.press("Enter");
    const names = await page.locator("#zoo tbody th").allTextContents();
    const params = names.map((name) => models.find((row) => row.name === name).params);
    check(page, params.every((value, i) => i === 0 || params[i - 1] <= value), `not sorted: ${params}`);
    await page.reload();
    await page.waitForSelector("#zoo [aria-sort=ascending]");
    check(page, (await page.locator("#zoo tbody tr").count()) === names.length, "a reload lost the search");
  },
  async history(page) {
    const { contest } = await ask(page, "v1/zoo");
    const rows = page.locator("table tbody tr");
    check(page, await rows.count() === contest.length, "not every entry has a row");
    for (let i = 0; i < contest.length; i++) check(page, await rows.nth(i).locator("a[href^=http]").count() > 0, `row ${i} has no source`);
    await page.locator("#view ul a").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("#bench-size");
    await page.goBack();
    await page.waitForSelector("svg.chart");
  },
};

const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj7lAAAAABJRU5ErkJggg==";
const sample = async (page, digit) => (await page.request.get(`${base}/v1/samples/digit-${digit}.png`)).body();

/** What is loaded at first takes at most 60 kB compressed, and each view at most 30 kB more. */
async function budgets() {
  const context = await browser.newContext();
  const problems = [];
  const size = async (url) => gzipSync(await (await context.request.get(url)).body()).length;
  let before = 0;
  for (const view of ["classify", ...VIEWS]) {
    const page = await context.newPage();
    const scripts = new Set();
    page.on("request", (request) => request.resourceType() === "script" && scripts.add(request.url()));
    await page.goto(`${base}/#view=${view}`);
    await until(page, (name) => document.body.dataset.ready === name, view);
    const sizes = await Promise.all([...scripts].map(size));
    const bytes = sizes.reduce((sum, one) => sum + one, 0);
    const most = before === 0 ? 60_000 : before + 30_000;
    if (bytes > most) problems.push(`${view}: ${bytes} bytes of scripts, at most ${most}`);
    if (before === 0) before = bytes;
    await page.close();
  }
  await context.close();
  report(`task: budgets (${before} bytes of scripts at first)`, problems);
}

/** Every view of a page that was exported, from its folder: nothing is asked of a server. */
async function exported() {
  const address = `file://${path.resolve(site)}/index.html`;
  const context = await browser.newContext({ reducedMotion: "reduce" });
  for (const view of VIEWS) {
    const page = await context.newPage();
    page.problems = [];
    page.on("request", (request) => /^https?:/.test(request.url()) && page.problems.push(`asked ${request.url()}`));
    page.on("pageerror", (error) => page.problems.push(error.message));
    page.on("console", (line) => line.type() === "error" && page.problems.push(line.text()));
    try {
      await page.goto(`${address}#lang=en&view=${view}`);
      await until(page, (name) => document.body.dataset.ready === name, view);
      if (view === "champions") {
        await choose(page);
        await says(page, "Most probable: 3");
      } else {
        await fill(page, view);
      }
      // Files cannot be asked for from a file, by axe either.
      page.problems.push(...await violations(page, false));
    } catch (error) {
      page.problems.push(error.message);
    }
    report(`exported: ${view}`, page.problems);
    await page.close();
  }
  await context.close();
}

for (const [view, task] of Object.entries(TASKS)) {
  const page = await open(`view=${view}&model=${MODEL}`);
  try {
    await task(page);
  } catch (error) {
    const where = error.stack?.split("\n").filter((line) => line.includes("page.mjs:")).at(-2);
    page.problems.push(`${error.message} ${where?.trim()}`);
  }
  // A file that is no image, and one that is refused, are told of in the console by the browser itself.
  report(`task: ${view}`, page.problems.filter((problem) => !problem.includes("status of 400")));
  await page.context().close();
}

// Without scripts the form posts, and a page comes back.
const bare = await browser.newContext({ javaScriptEnabled: false });
const form = await bare.newPage();
await form.goto(base);
const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "page-")), "digit.png");
fs.writeFileSync(file, await sample(form, 6));
await form.setInputFiles("noscript input, form input[type=file]", file);
await form.click("form button");
await form.waitForURL("**/upload");
const rows = await form.locator("tbody tr").allTextContents();
report("task: without scripts", rows.length === 5 && rows[0].startsWith("6") ? [] : [`rows: ${rows}`]);
await bare.close();

await budgets();
if (site) await exported();

for (const width of [320, 1440]) for (const colours of ["light", "dark", "forced"]) await look(width, colours);
await browser.close();
process.exit(clean ? 0 : 1);

// Opens every view of `top5 serve` in Chromium and looks for faults, at 320 and 1440 pixels, in light, dark and forced colours:
// requests to other hosts, errors in the console, content wider than the window, what axe finds. Then it does in each view what a
// user would, by keyboard, and compares with what the API says.
//
//     npm install --prefix target/page $(cat scripts/page.txt)      (Debian has chromium)
//     node scripts/page.mjs target/debug/top5 [--quick] [--shots DIR]
//
// The program makes what there is to show in a folder that vanishes: an evaluation, a gallery and the like. With --quick each view is
// looked at once, after its task, at 320 pixels; otherwise in all windows, and as an exported page too. One line per window and
// task; the exit status is 0 if all are clean. With --shots the pictures of docs/page.md are written.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { createRequire } from "node:module";

const [program, ...words] = process.argv.slice(2);
const quick = words.includes("--quick");
const folder = words.includes("--shots") ? words[words.indexOf("--shots") + 1] : undefined;
const require = createRequire(path.resolve("target/page/package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
const VIEWS = ["classify", "champions", "explain", "occlude", "walk", "blocks", "evaluation", "gallery", "evolution", "compare", "kernel", "zoo", "history"];
const MODEL = "lenet-digits";

const place = fs.mkdtempSync(path.join(os.tmpdir(), "page-"));
const shown = ["judged", "thousand", "maps", "learnt", "moved"].flatMap((name) => ["--show", name]);

/** Makes results with the program, and a report about a thousand classes from one of them. */
function results() {
  const run = (...line) => execFileSync(path.resolve(program), line, { cwd: place, stdio: ["ignore", "ignore", "pipe"] });
  run("eval", "lenet", "--report", "judged");
  run("gallery", "lenet", "--images", "200", "--out", "maps");
  run("train", "lenet", "--epochs", "3", "--keep-epochs", "1,2,3", "--out", "run");
  run("evolve", "run", "--images", "100", "--out", "learnt");
  fs.writeFileSync(path.join(place, "digit.pgm"), Buffer.concat([Buffer.from("P5 28 28 255\n"), Buffer.alloc(784, 255).fill(0, 280, 400)]));
  run("invariance", "lenet", "digit.pgm", "--out", "moved");
  const report = JSON.parse(fs.readFileSync(path.join(place, "judged/report.json"), "utf8"));
  const classes = Array.from({ length: 1000 }, (_, i) => `class ${i} of a long name`);
  report.per_class = classes.map((name) => ({ class: name, images: 4, top1: 75, top5: 100 }));
  report.images = 4000;
  const hits = Array.from({ length: 4000 }, (_, i) => (i % 7 ? 1 : 0));
  const right = hits.filter(Boolean).length;
  Object.assign(report, { top1_hits: hits.join(""), top1_right: right, top1: right / 40, top5_right: 4000, top5: 100 });
  // Its images are not at hand.
  report.origin.data = "photographs";
  const rows = Array.from({ length: 4000 }, (_, i) => `val/${i}.JPEG,${i % 1000},${i % 7 ? i % 1000 : (i + 3) % 1000},0.5,1`);
  fs.mkdirSync(path.join(place, "thousand"));
  fs.writeFileSync(path.join(place, "thousand/report.json"), JSON.stringify(report));
  fs.writeFileSync(path.join(place, "thousand/predictions.csv"), ["image,label,top1_index,top1_prob,rank", ...rows].join("\n"));
  if (!quick) run("page", "export", "site", "lenet", ...shown);
  // A network of a thousand classes with names, branches and gates.
  run("convert", "seresnet18", "wide", "--init", "1");
  const config = JSON.parse(fs.readFileSync(path.join(place, "wide/config.json"), "utf8"));
  fs.writeFileSync(path.join(place, "wide/config.json"), JSON.stringify({ ...config, label_names: classes }));
}

/** Serves models; the address. */
async function serve(...line) {
  const server = spawn(path.resolve(program), ["serve", ...line, "--port", "0"], { cwd: place, stdio: ["ignore", "pipe", "inherit"] });
  servers.push(server);
  const [said] = await once(server.stdout, "data");
  return String(said).split(" ")[0];
}

results();
const servers = [];
const base = await serve("lenet", "other=lenet", "--run", "run", ...shown);
const wide = await serve("wide", "lenet");
const site = quick ? undefined : path.join(place, "site");

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let clean = true;

/** A tab that keeps what goes wrong in it: requests to others than these, errors, warnings. */
async function heard(context, allowed) {
  const page = await context.newPage();
  page.problems = [];
  page.on("request", (request) => {
    if (![...allowed, "blob:", "data:"].some((start) => request.url().startsWith(start))) page.problems.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (line) => ["error", "warning"].includes(line.type()) && page.problems.push(line.text()));
  return page;
}

/** The page at an address, when its view is there. */
async function open(hash, options = {}, from = base) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await heard(context, [from]);
  await page.goto(`${from}/#lang=en&${hash}`);
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

/** What can be seen without using a view. */
async function inspect(page) {
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) page.problems.push("wider than the window");
  page.problems.push(...await violations(page));
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
  const looks = ["classify", "champions", "explain", "occlude", "walk", "blocks"].includes(view);
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
  if (view === "evaluation") await page.waitForSelector("#matrix .cell");
  if (view === "gallery") await page.locator(".tile").first().click();
  if (view === "evolution") await page.waitForSelector("figure.curve");
}

/** Switches the gates of the first block off. */
async function switchOff(page) {
  await page.waitForSelector("#whole table");
  await page.click("#branch-1");
  await page.waitForSelector("#fewer table");
  await page.locator("#gates summary").click();
}

/** Writes the picture of docs/page.md: at most 960 pixels wide, a long page cut off. */
async function shoot(page, name, width, colours) {
  if (!folder) return;
  const scale = Math.min(1, 960 / width);
  const height = Math.min(width > 320 ? 1350 : 2200, await page.evaluate(() => document.documentElement.scrollHeight));
  const debug = await page.context().newCDPSession(page);
  const clip = { x: 0, y: 0, width, height, scale };
  const { data } = await debug.send("Page.captureScreenshot", { format: "webp", quality: 75, captureBeyondViewport: true, clip });
  fs.writeFileSync(path.join(folder, `${name}-${width}-${colours}.webp`), Buffer.from(data, "base64"));
}

async function look(width, colours) {
  const forced = colours === "forced" ? { forcedColors: "active" } : { colorScheme: colours };
  const all = [...VIEWS.map((view) => [view, MODEL, base]), ...["classify", "explain", "walk", "blocks"].map((view) => [view, "wide", wide])];
  for (const [view, model, from] of all) {
    const page = await open(`view=${view}&model=${model}`, { viewport: { width, height: 900 }, ...forced }, from);
    try {
      await fill(page, view);
      if (view === "blocks" && model === "wide") await switchOff(page);
    } catch (error) {
      page.problems.push(error.message);
    }
    await inspect(page);
    // LeNet has no blocks.
    if (colours !== "forced" && (view === "blocks") === (model === "wide")) await shoot(page, view === "blocks" ? "blocks-wide" : view, width, colours);
    report(`${view} of ${model} ${width} ${colours}`, page.problems);
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
    // A photograph of one's own, with nothing but keys: to the button, which opens the browser's own dialogue.
    const photograph = await page.evaluate(() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
      const pen = canvas.getContext("2d");
      Object.assign(pen, { fillStyle: "white", font: "400px sans-serif" });
      pen.fillText("4", 200, 400);
      return canvas.toDataURL("image/jpeg").split(",")[1];
    });
    await page.focus("#language");
    for (let i = 0; i < 60 && await page.evaluate(() => document.activeElement?.id !== "file"); i++) await page.keyboard.press("Tab");
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Space")]);
    await chooser.setFiles({ name: "own.jpg", mimeType: "image/jpeg", buffer: Buffer.from(photograph, "base64") });
    await until(page, () => document.querySelector("#answer")?.textContent.includes("own.jpg"));
    check(page, await page.locator("#answer tbody tr").count() === 5, "not five classes of a photograph");
    // A drawn stroke, by keys.
    await page.click("#drawing summary");
    await page.focus("#canvas");
    for (let i = 0; i < 16; i++) await page.keyboard.press("ArrowDown");
    await says(page, "Most probable: 1");
    await page.setInputFiles("#file", { name: "x.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg/>") });
    await says(page, "That did not work");
    await page.setInputFiles("#file", { name: "<img src=x onerror=alert(1)>.png", mimeType: "image/png", buffer: await sample(page, 4) });
    await says(page, "Most probable: 4");
    // A command is copied where there is no clipboard, too.
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await page.locator(".command button").first().press("Enter");
    await says(page, "The command was copied");
    // A server that is gone is told of, whatever is asked for.
    const gone = "the server does not answer";
    await page.route(/v1/, (route) => route.abort());
    await page.setInputFiles("#file", { name: "4.png", mimeType: "image/png", buffer: Buffer.from(PIXEL, "base64") });
    await says(page, gone);
    await choose(page, 2);
    await says(page, gone);
    await page.click("nav a[href*=zoo]");
    await until(page, () => document.body.dataset.ready === "zoo");
    await says(page, gone);
    await page.reload();
    await says(page, gone);
    await page.unroute(/v1/);
    await page.reload();
    await until(page, () => document.body.dataset.ready === "zoo");
    page.problems = page.problems.filter((problem) => !problem.includes("ERR_FAILED"));
    // What a view that was left still adds is not added to the next one.
    await page.route("**/classes", async (route) => {
      await new Promise((later) => setTimeout(later, 300));
      await route.continue();
    });
    await page.click("nav a[href*=explain]");
    await page.click("nav a[href*=classify]");
    await until(page, () => document.body.dataset.ready === "classify");
    await page.waitForTimeout(500);
    check(page, await page.locator("#explain").count() === 0, "a view that was left goes on");
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
    // What is dropped and what is pasted gives the same as what is chosen.
    for (const [kind, digit] of [["drop", 4], ["paste", 7]]) {
      await page.evaluate(([kind, bytes]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], "own.png", { type: "image/png" }));
        const event = kind === "drop"
          ? new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true })
          : new ClipboardEvent("paste", { clipboardData: carried, bubbles: true });
        document.querySelector("#drop").dispatchEvent(event);
      }, [kind, [...await sample(page, digit)]]);
      await says(page, `Most probable: ${digit}`);
    }
    await page.setInputFiles("#file", { name: "p.pgm", mimeType: "image/png", buffer: Buffer.from(PIXEL, "base64") });
    await page.waitForSelector("#pixel");
    await page.click("nav a[href*=walk]");
    await until(page, () => document.body.dataset.ready === "walk");
    check(page, await page.locator("#pixel").count() === 1, "in another view the pixel is not told");
    await page.goBack();
    await until(page, () => document.body.dataset.ready === "champions");
    await choose(page, 2);
    check(page, await page.locator("#pixel").count() === 0, "another image is said to have a single pixel");
    // Names that turn round what follows leave our words in their order, and long ones the other columns in sight.
    const odd = { predictions: [{ class: "\u202edrow", probability: 0.5 }, { class: "x".repeat(300), probability: 0.25 }], milliseconds: { forward: 1 } };
    await page.route("**/v1/predict/other**", (route) => route.fulfill({ json: odd }));
    await choose(page, 2);
    await page.waitForFunction(() => document.querySelector("#champions").textContent.includes("\u2068\u202edrow\u2069 50.00"), null, { timeout: 5000 });
    const width = await page.evaluate(() => Math.max(...[...document.querySelectorAll("#champions td")].map((cell) => cell.clientWidth)));
    check(page, width < 450, `a long name makes a column of ${width} pixels`);
    await page.unroute("**/v1/predict/other**");
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
    await page.waitForSelector("#explanation .numbers tbody tr");
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
    // What a method says of its own result is shown.
    await page.goto(`${base}/#lang=en&view=explain&model=${MODEL}&method=integrated-gradients`);
    await page.reload();
    await until(page, () => document.body.dataset.ready === "explain");
    await choose(page, 3);
    await page.click("#explain");
    await until(page, () => document.querySelector("#explanation")?.textContent.includes("The shares add up to"));
    // What the address says and there is not gives way to the usual.
    await page.goto(`${base}/#lang=constructor&view=explain&model=${MODEL}&method=none&layer=none`);
    await page.reload();
    await until(page, () => document.body.dataset.ready === "explain");
    await choose(page, 3);
    await page.waitForSelector("#explanation figure canvas");
  },
  async occlude(page) {
    // The answer of an image that is not chosen any more comes late, and is not shown.
    let late = true;
    await page.route("**/v1/predict/**", async (route) => {
      if (late) await new Promise((later) => setTimeout(later, 300));
      late = false;
      await route.continue();
    });
    const lab = () => page.evaluate(() => document.querySelector(".lab").toDataURL());
    await choose(page, 1);
    await choose(page, 3);
    await says(page, "Most probable: 3");
    await page.waitForTimeout(100);
    const shown = await lab();
    await page.unroute("**/v1/predict/**");
    await choose(page, 3);
    await says(page, "Most probable: 3");
    await page.waitForTimeout(100);
    check(page, shown === await lab(), "another image than the chosen one is shown");
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
    await page.evaluate(() => {
      document.querySelector("#slide").click();
      document.querySelector("#slide + button").click();
    });
    await page.waitForFunction(() => document.querySelector("#status").textContent === "Cancelled.", null, { timeout: 1000 });
  },
  async walk(page) {
    await choose(page, 3);
    await page.locator(".layer").nth(1).press("Enter");
    await page.waitForSelector(".tile");
    await page.locator(".tile").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("#unit-row");
    // Arrow keys and a pointer tell the same of a cell.
    const words = new URLSearchParams(new URL(page.url()).hash.slice(1));
    const asked = `${base}/v1/activations/${MODEL}?layer=${words.get("layer")}&map=${words.get("map")}`;
    const { map } = await (await page.request.post(asked, { data: await sample(page, 3) })).json();
    const cell = `Row 0, column 1: ${map.values[1]}`;
    await page.focus("canvas.cells");
    await page.keyboard.press("ArrowRight");
    check(page, await page.textContent("#under") === cell, `keys: ${await page.textContent("#under")}, not ${cell}`);
    await page.keyboard.press("ArrowDown");
    const box = await page.locator("canvas.cells").boundingBox();
    await page.hover("canvas.cells", { position: { x: 1.5 * box.width / map.width, y: 0.5 * box.height / map.height } });
    check(page, await page.textContent("#under") === cell, `a pointer: ${await page.textContent("#under")}, not ${cell}`);
    await page.focus("#larger");
    await page.keyboard.press("Enter");
    const large = await page.locator("canvas.cells").boundingBox();
    check(page, large.width > 1.9 * box.width, `larger: ${box.width} to ${large.width}`);
    check(page, new URL(page.url()).hash.includes("zoom=2"), "the address does not say the size");
    await page.focus("#smaller");
    await page.keyboard.press("Enter");
    await page.focus("canvas.cells");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#total");
    check(page, await page.evaluate(() => document.activeElement?.className.includes("cells")), "Enter on a cell lost the focus");
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
  async blocks(page) {
    check(page, (await page.textContent("#no-blocks")).includes("no blocks"), "LeNet has blocks");
  },
  async evaluation(page) {
    const told = await ask(page, "v1/results/judged");
    const { label, taken, image } = told.answers;
    const of = (row, column, answers = told.answers) => answers.image.filter((_, i) => answers.label[i] === row && answers.taken[i] === column);
    await page.waitForSelector("#matrix .cell");
    await says(page, "top-1 ");
    // Every cell has the number of its images.
    const counts = await page.locator("#matrix .cell").evaluateAll((all) => all.map((cell) => [cell.dataset.at, cell.textContent]));
    check(page, counts.length === 100, `${counts.length} cells`);
    for (const [at, text] of counts) {
      const [row, column] = at.split(" ").map(Number);
      check(page, of(row, column).length === (text === "·" ? 0 : Number(text)), `cell ${at}: ${text}`);
    }
    // To the cell of a mistake by arrows; Enter lists exactly its images, and Escape comes back.
    const wrong = image.findIndex((_, i) => label[i] !== taken[i]);
    const [row, column] = [label[wrong], taken[wrong]];
    await page.focus("#matrix [tabindex='0']");
    for (let i = 0; i < row; i++) await page.keyboard.press("ArrowDown");
    for (let i = 0; i < column; i++) await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    const names = () => page.locator("#listed .name").allTextContents();
    await page.waitForSelector("#listed li");
    check(page, String(await names()) === String(of(row, column)), `listed: ${await names()}`);
    await until(page, () => [...document.querySelectorAll("#listed img")].every((one) => one.complete && one.naturalWidth > 0));
    check(page, await page.locator("#listed img").count() === of(row, column).length, "images without pictures");
    await page.keyboard.press("Escape");
    check(page, await page.evaluate(() => document.activeElement?.getAttribute("data-at")) === `${row} ${column}`, "Escape did not come back");
    await page.reload();
    await page.waitForSelector("#listed li");
    check(page, String(await names()) === String(of(row, column)), "a reload lost the images");
    const published = await page.locator("#view table").first().textContent();
    check(page, published.includes(told.protocol) && published.includes("measured here"), `beside: ${published}`);
    check(page, await page.locator("#mistakes tbody tr").count() === told.suspects.length, "not every mistake has a row");
    // A thousand classes: to one by name, further by keys.
    const many = (await ask(page, "v1/results/thousand")).answers;
    await page.goto(`${base}/#lang=en&view=evaluation&result=thousand`);
    await page.reload();
    await page.waitForSelector("#go-class");
    const started = Date.now();
    await page.fill("#go-class", "class 503 of a long name");
    await page.keyboard.press("Tab");
    await page.waitForSelector("#matrix [data-at^='503 ']");
    await page.focus("#matrix [tabindex='0']");
    await page.keyboard.press("PageDown");
    await page.keyboard.press("Home");
    await page.waitForSelector("#matrix [data-at='513 0']");
    await page.fill("#go-taken", "class 503 of a long name");
    await page.keyboard.press("Tab");
    await page.fill("#go-class", "class 503 of a long name");
    await page.keyboard.press("Tab");
    await page.waitForSelector("#listed li");
    check(page, String(await names()) === String(of(503, 503, many)), `of a thousand: ${await names()}`);
    check(page, Date.now() - started < 5000, `a thousand classes took ${Date.now() - started} ms`);
  },
  async gallery(page) {
    const told = await ask(page, "v1/results/maps");
    const [layer] = told.layers;
    await page.waitForSelector(".tile");
    const alive = layer.maps.filter((map) => !layer.dead.includes(map));
    check(page, await page.locator(".tile").count() === alive.length, "not every map has a card");
    const [map] = alive;
    const examples = layer.examples.filter((one) => one.map === map);
    const name = await page.locator(".tile canvas").first().getAttribute("aria-label");
    check(page, name.includes(examples[0].class) && name.includes(String(Number(examples[0].value.toPrecision(4)))), `named ${name}`);
    // What is cut out of the sheet is not white.
    await until(page, () => {
      const canvas = document.querySelector(".tile canvas");
      return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0 && value < 255);
    });
    await page.locator(".tile").first().press("Enter");
    const rows = await page.locator("#details tbody tr").evaluateAll((all) => all.map((one) => [...one.cells].map((cell) => cell.textContent)));
    check(page, String(rows.map((row) => row.slice(1, 4))) === String(examples.map((one) => [one.value, one.class, one.name])), `rows ${rows}`);
    const { top, left, height, width } = examples[0].rectangle;
    const box = await page.locator("svg.frame").first().getAttribute("aria-label");
    check(page, box.includes(`${height} × ${width} from row ${top}, column ${left}`), `box ${box}`);
    await page.keyboard.press("Escape");
    check(page, await page.evaluate(() => document.activeElement?.getAttribute("data-map")) === String(map), "Escape did not come back");
    await page.goBack();
    await page.waitForSelector("#details table");
    const wanted = examples[0].class;
    await page.fill("#find", wanted);
    const fits = alive.filter((one) => String(one) === wanted || layer.examples.some((example) => example.map === one && example.class.includes(wanted)));
    await says(page, `${fits.length} of ${layer.maps.length} maps`);
    await page.reload();
    await page.waitForSelector("#details table");
    check(page, await page.locator(".tile").count() === fits.length, "a reload lost the filter");
  },
  async evolution(page) {
    const told = await ask(page, "v1/results/learnt");
    await page.waitForSelector("#epoch figure");
    for (let i = 1; i < told.epochs.length; i++) {
      await page.focus("#before");
      await page.keyboard.press("Enter");
    }
    await until(page, () => location.hash.includes("epoch=0"));
    for (let i = 1; i < told.epochs.length; i++) {
      await page.focus("#epochs");
      await page.keyboard.press("ArrowRight");
      const changed = told.layers[0].maps.filter((map) => map.jumps.includes(told.epochs[i]));
      await says(page, `Epoch ${told.epochs[i]}`);
      const words = await status(page);
      check(page, changed.length === 0 ? words.includes("no map") : changed.every((map) => words.includes(`map ${map.map} now shows image ${map.strongest[i].name}`)), words);
    }
    await page.reload();
    await page.waitForSelector("#epoch figure");
    check(page, await page.inputValue("#epochs") === String(told.epochs.length - 1), "a reload lost the epoch");
    check(page, await page.locator("#play").count() === 0, "something plays although nothing shall move");
    const curves = await ask(page, "v1/results/moved");
    await page.locator("details.points summary").first().press("Enter");
    const cells = await page.locator("details.points").first().locator("tbody tr").evaluateAll((all) => all.map((one) => [...one.cells].map((cell) => Number(cell.textContent))));
    check(page, JSON.stringify(cells) === JSON.stringify(curves.images[0].points.map((point) => [point.amount, ...point.distances, point.probability])), "the table is not the API's");
    // Where things may move it plays, and stops.
    const moving = await open("view=evolution", { reducedMotion: "no-preference" });
    await moving.waitForSelector("#play");
    await moving.focus("#play");
    await moving.keyboard.press("Enter");
    await until(moving, () => location.hash.includes("epoch=1"));
    await moving.keyboard.press("Enter");
    const stopped = await moving.evaluate(() => location.hash);
    await moving.waitForTimeout(1500);
    check(page, stopped === await moving.evaluate(() => location.hash), "it plays on");
    await moving.context().close();
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
    for (const odd of ["null", '{"a": null}', '{"a": {"dtype": "F32", "shape": [-1, "x"]}}']) {
      length.writeBigUInt64LE(BigInt(odd.length));
      await page.setInputFiles("#weights", { name: "w.safetensors", mimeType: "", buffer: Buffer.concat([length, Buffer.from(odd)]) });
      await until(page, () => !document.querySelector("#tensors").firstChild);
      await says(page, "this is no safetensors file");
    }
    await page.setInputFiles("#weights", []);
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
    // However often the view was shown.
    for (const lang of ["zh-CN", "en"]) {
      await page.click("#language");
      await until(page, (wanted) => document.documentElement.lang === wanted && document.querySelector("canvas.bench"), lang);
    }
    await page.focus("canvas.bench");
    await page.keyboard.press("ArrowRight");
    await until(page, () => /at=1$/.test(location.hash));
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

/** What a network of a thousand classes, with branches and gates, must let a user do. */
const WIDE = {
  async blocks(page) {
    const { blocks } = await (await page.request.get(`${wide}/v1/models/wide/blocks`)).json();
    const asked = async (query) => (await page.request.post(`${wide}/v1/blocks/wide?${query}`, { data: await sample(page, 3) })).json();
    const rows = (place) => page.locator(`${place} tbody tr`).allTextContents();
    const words = (said) => said.predictions.map((one) => one.class);
    await choose(page, 3);
    await page.waitForSelector("#whole table");
    const whole = await rows("#whole");
    const unit = blocks.find((block) => !block.gated);
    await page.selectOption("#blocks", unit.name);
    // A branch is switched off by the space bar, and the answer is another.
    await page.focus("#branch-0");
    await page.keyboard.press("Space");
    await page.waitForSelector("#fewer table");
    const fewer = await rows("#fewer");
    const off = await asked(`block=${unit.name}&off=${unit.name}:0`);
    check(page, String(fewer) !== String(whole), "the answer without a branch is the same");
    check(page, words(off).every((name, i) => fewer[i].startsWith(name)), `shown ${fewer}, said ${words(off)}`);
    await says(page, "Without them");
    check(page, await page.evaluate(() => document.activeElement?.id) === "branch-0", "the switch lost the focus");
    await page.reload();
    await until(page, () => document.body.dataset.ready === "blocks");
    check(page, !(await page.isChecked("#branch-0")), "a reload switched it on");
    await choose(page, 3);
    await page.waitForSelector("#fewer table");
    await page.focus("#all-on");
    await page.keyboard.press("Enter");
    await until(page, () => !document.querySelector("#fewer"));
    check(page, String(await rows("#whole")) === String(whole), "all on again, the answer is another");
    check(page, JSON.stringify(await asked(`block=${unit.name}`)) === JSON.stringify({ ...off, predictions: off.whole }), "all on again, the bits are others");
    // Gates are a table of the API's numbers.
    const gated = blocks.find((block) => block.gated);
    await page.selectOption("#blocks", gated.name);
    await page.locator("#gates summary").press("Enter");
    await page.waitForSelector("#gates tbody tr");
    const cells = await page.locator("#gates tbody tr").first().locator("td").allTextContents();
    const { gates } = await asked(`block=${gated.name}`);
    check(page, cells.length === 14 && cells.every((cell, i) => Number(cell) === gates[i]), `gates ${cells}`);
    await page.focus("#branch-1");
    await page.keyboard.press("Space");
    await page.waitForSelector("#fewer table");
  },
  async champions(page) {
    await choose(page, 2);
    await until(page, () => document.querySelectorAll("#champions ol").length === 2);
    await until(page, () => document.querySelector("#view").textContent.includes("; but "));
    const words = await page.textContent("#view");
    check(page, words.includes(`${MODEL}: 2`), "the disagreement is not told");
  },
  async classify(page) {
    const started = Date.now();
    await choose(page, 3);
    await page.waitForSelector("#answer table");
    const shown = await page.locator("#answer tbody th").allTextContents();
    const said = await (await page.request.post(`${wide}/v1/predict/wide`, { data: await sample(page, 3) })).json();
    check(page, String(shown) === String(said.predictions.map((one) => one.class)), `names ${shown}`);
    check(page, shown.every((name) => name.endsWith("of a long name")), `names ${shown}`);
    check(page, Date.now() - started < 5000, `an answer of a thousand classes took ${Date.now() - started} ms`);
  },
  async explain(page) {
    const started = Date.now();
    check(page, await page.locator("#classes option").count() === 1000, "not a thousand classes to choose from");
    await page.fill("input[list=classes] >> nth=0", "class 503 of a long name");
    await page.fill("input[list=classes] >> nth=1", "class 7 of a long name");
    await page.keyboard.press("Tab");
    await choose(page, 3);
    await page.click("#explain");
    await says(page, "Why class 503 of a long name − class 7 of a long name");
    check(page, await page.locator("#explanation figure > canvas").count() === 4, "not two classes beside their difference");
    check(page, Date.now() - started < 10_000, `two of a thousand classes took ${Date.now() - started} ms`);
    // Where nothing speaks for a class, the page says so.
    const fact = async (at) => {
      const query = new URLSearchParams({ method: "grad-cam", class: `class ${at} of a long name` });
      return (await (await page.request.post(`${wide}/v1/explain/wide?${query}`, { data: await sample(page, 3) })).json()).fact;
    };
    let against = 0;
    while (against < 40 && await fact(against) !== "no positive evidence") against += 1;
    await page.fill("input[list=classes] >> nth=1", "");
    await page.fill("input[list=classes] >> nth=0", `class ${against} of a long name`);
    await page.keyboard.press("Tab");
    await page.click("#explain");
    await until(page, () => document.querySelector("#explanation")?.textContent.includes("no place of the image speaks for it"));
    await page.fill("input[list=classes] >> nth=0", "class 1000 of a long name");
    await page.keyboard.press("Tab");
    await page.click("#explain");
    await says(page, "no such class");
    // A long one is cancelled within a second; one that another takes the place of is not said to be.
    await page.goto(`${wide}/#lang=en&view=explain&model=wide&method=rise`);
    await page.reload();
    await until(page, () => document.body.dataset.ready === "explain");
    await choose(page, 3);
    await page.evaluate(() => {
      document.querySelector("#explain").click();
      document.querySelector("#explain").click();
    });
    await page.waitForTimeout(50);
    check(page, await status(page) !== "Cancelled.", "what runs is said to be cancelled");
    await page.evaluate(() => document.querySelector("#explain + button").click());
    await page.waitForFunction(() => document.querySelector("#status").textContent === "Cancelled.", null, { timeout: 1000 });
  },
};

const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj7lAAAAABJRU5ErkJggg==";
const sample = async (page, digit) => (await page.request.get(`${base}/v1/samples/digit-${digit}.png`)).body();

/** The page of a run, in two tabs that get the same history, beside more of them than a browser opens connections; and its report, which is a file. */
async function watched(width, colorScheme) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, reducedMotion: "reduce", colorScheme });
  const told = await (await fetch(`${base}/v1/run`)).json();
  const keys = ["epoch", "step", "train_loss", "train_top1", "train_top5", "eval_loss", "eval_top1", "eval_top5", "lr"];
  const expected = told.rows.map((row) => keys.map((key) => String(row[key] ?? "")));
  for (const tab of ["first", "second"]) {
    const page = await heard(context, [base]);
    await page.goto(`${base}/run.html#lang=en`);
    await page.waitForSelector("#table tbody tr");
    const rows = await page.locator("#table tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
    check(page, rows.length > 0 && JSON.stringify(rows) === JSON.stringify(expected), "the table is not what the server says");
    const said = page.locator("#said[role=status]");
    check(page, (await said.textContent()).startsWith(`Epoch ${told.rows.length} of`), "no sentence for the epoch");
    await inspect(page);
    if (tab === "first") await shoot(page, "run", width, colorScheme);
    if (tab === "second") {
      await page.click("#language");
      await page.reload();
      await page.waitForSelector("#table tbody tr");
      check(page, (await page.textContent("#now-title")) !== "Now", "the language did not survive a reload");
    }
    report(`run, ${tab} tab, ${width} ${colorScheme}`, page.problems);
  }
  const tabs = await Promise.all(Array.from({ length: 5 }, async () => {
    const page = await heard(context, [base]);
    await page.goto(`${base}/run.html#lang=en`);
    await page.waitForSelector("#table tbody tr");
    return page;
  }));
  report(`run, ${tabs.length} more tabs`, tabs.flatMap((page) => page.problems));
  const page = await heard(context, ["file:"]);
  await page.goto(`file://${place}/run/report.html`);
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) page.problems.push("wider than the window");
  page.problems.push(...await violations(page, false));
  report(`report of a run, ${width} ${colorScheme}`, page.problems);
  await context.close();
}

/** What is loaded at first takes at most 60 kB compressed, and each view at most 30 kB more. */
async function budgets() {
  const problems = [];
  const texts = new Map();
  /** The modules that one loads, with itself. */
  const closure = async (name, found = new Set()) => {
    if (found.has(name)) return found;
    found.add(name);
    if (!texts.has(name)) texts.set(name, await (await fetch(`${base}/${name}`)).text());
    for (const [, other] of texts.get(name).matchAll(/ from "\.\/([\w.]+)"/g)) await closure(other, found);
    return found;
  };
  const size = (names) => [...names].reduce((sum, name) => sum + gzipSync(texts.get(name)).length, 0);
  const first = await closure("page.js");
  if (size(first) > 60_000) problems.push(`${size(first)} bytes of scripts at first`);
  for (const view of VIEWS) {
    const more = [...await closure(`${view}.js`)].filter((name) => !first.has(name));
    if (size(more) > 30_000) problems.push(`${view}: ${size(more)} bytes of scripts more`);
  }
  report(`task: budgets (${size(first)} bytes of scripts at first)`, problems);
}

/** Each command that a view shows runs, and says something. */
async function commands() {
  const empty = fs.mkdtempSync(path.join(place, "commands-"));
  fs.copyFileSync(path.join(place, "digit.pgm"), path.join(empty, "digit.pgm"));
  const words = { cwd: empty, encoding: "utf8", env: { ...process.env, PATH: `${path.dirname(path.resolve(program))}:${process.env.PATH}` } };
  for (const view of VIEWS) {
    const page = await open(`view=${view}&model=${MODEL}`);
    fs.writeFileSync(path.join(empty, "digit-3.png"), await sample(page, 3));
    try {
      await fill(page, view);
      // The page does not know where runs and models are.
      const lines = (await page.locator(".command code").allTextContents()).filter((line) => !/ (RUN|MODEL) /.test(line));
      for (const line of lines) {
        const done = spawnSync("sh", ["-c", line], words);
        check(page, done.status === 0 && done.stdout.length > 0 && !done.stdout.startsWith('{"error"'), `${line}: ${done.status} ${done.stderr}${done.stdout}`);
      }
      report(`commands of ${view}: ${lines.length}`, page.problems);
    } catch (error) {
      report(`commands of ${view}`, [error.message]);
    }
    await page.context().close();
  }
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

/** Does a task of a view and looks at what it left. */
async function perform(view, task, model, from) {
  const page = await open(`view=${view}&model=${model}`, quick ? { viewport: { width: 320, height: 900 } } : {}, from);
  try {
    await task(page);
    if (quick) await inspect(page);
  } catch (error) {
    const where = error.stack?.split("\n").filter((line) => line.includes("page.mjs:")).at(-2);
    page.problems.push(`${error.message} ${where?.trim()}`);
  }
  // A file that is no image, and one that is refused, are told of in the console by the browser itself.
  report(`task: ${view} of ${model}`, page.problems.filter((problem) => !problem.includes("status of 400")));
  await page.context().close();
}

for (const [view, task] of Object.entries(TASKS)) await perform(view, task, MODEL, base);
for (const [view, task] of Object.entries(WIDE)) await perform(view, task, "wide", wide);

// Without scripts the form posts, and a page comes back.
const bare = await browser.newContext({ javaScriptEnabled: false });
const form = await bare.newPage();
await form.goto(base);
const file = path.join(place, "digit.png");
fs.writeFileSync(file, await sample(form, 6));
await form.setInputFiles("noscript input, form input[type=file]", file);
await form.click("form button");
await form.waitForURL("**/upload");
const rows = await form.locator("tbody tr").allTextContents();
report("task: without scripts", rows.length === 5 && rows[0].startsWith("6") ? [] : [`rows: ${rows}`]);
await bare.close();

await budgets();
for (const [width, colours] of quick ? [[320, "light"]] : [[320, "light"], [320, "dark"], [1440, "light"], [1440, "dark"]]) await watched(width, colours);
if (!quick) await commands();
if (site) await exported();

if (!quick) for (const width of [320, 1440]) for (const colours of ["light", "dark", "forced"]) await look(width, colours);
await browser.close();
servers.forEach((server) => server.kill());
fs.rmSync(place, { recursive: true });
process.exit(clean ? 0 : 1);

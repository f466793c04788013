// Opens the page of a running `top5 serve` in Chromium at 320 and 1440 pixels, light and dark, and looks for faults: requests
// to other hosts, errors in the console, content wider than the window, and what axe finds.
//
//     npm install playwright-core axe-core      (Debian has chromium)
//     node scripts/page.mjs http://127.0.0.1:8000 [DIR for screenshots]
//
// The server must have the embedded LeNet as `lenet-digits`. One line per window; the exit status is 0 if all are clean.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [base, folder] = process.argv.slice(2);
const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
const digit = Buffer.concat([
  Buffer.from("P5 28 28 255\n"),
  Buffer.from(Array.from({ length: 784 }, (_, i) => (Math.abs((i % 28) - 14) < 2 && i > 112 && i < 672 ? 255 : 0))),
]);

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let clean = true;
for (const width of [320, 1440]) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    const problems = [];
    page.on("request", (request) => {
      if (![base, "blob:", "data:"].some((start) => request.url().startsWith(start))) problems.push(`asked ${request.url()}`);
    });
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (line) => ["error", "warning"].includes(line.type()) && problems.push(line.text()));
    await page.goto(`${base}/#model=lenet-digits&lang=en`);
    await page.waitForSelector("#card dt");
    // By keyboard alone: a stroke from the middle downwards.
    await page.focus("#canvas");
    for (let i = 0; i < 16; i++) await page.keyboard.press("ArrowDown");
    await page.waitForFunction(() => !document.querySelector("#answer").hidden);
    const rows = await page.locator("#answer tbody tr").count();
    if (rows !== 5) problems.push(`${rows} rows of a top 5`);
    await page.setInputFiles("#file", { name: "one.pgm", mimeType: "image/x-portable-graymap", buffer: digit });
    await page.click("summary");
    await page.waitForTimeout(600);
    if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) problems.push("wider than the window");
    // Through the debugger, since the page's policy runs no script of others.
    const debug = await context.newCDPSession(page);
    await debug.send("Runtime.evaluate", { expression: axe });
    const expression =
      `axe.run({ runOnly: ${JSON.stringify(tags)} })` +
      ".then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')}`))";
    const found = await debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    problems.push(...found.result.value);
    if (folder) await page.screenshot({ path: path.join(folder, `${width}-${colorScheme}.png`), fullPage: true });
    const title = await page.textContent("#answer-title");
    await page.click("#language");
    await page.reload();
    await page.waitForSelector("#card dt");
    if ((await page.textContent("#answer-title")) === title) problems.push("the language did not survive a reload");
    console.log(width, colorScheme, problems.length ? problems.join("\n  ") : "clean");
    clean &&= problems.length === 0;
  }
}
await browser.close();
process.exit(clean ? 0 : 1);

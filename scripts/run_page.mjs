// Looks at a run's page and its report in Chromium at 320 and 1440 pixels, light and dark: requests to other hosts, errors in
// the console, content wider than the window, what axe finds, and whether the page has what the server says.
//
//     npm install playwright-core axe-core      (Debian has chromium)
//     top5 serve --run runs/lenet-digits &
//     node scripts/run_page.mjs http://127.0.0.1:8000 runs/lenet-digits/report.html [DIR for screenshots]
//
// One line per window; the exit status is 0 if all are clean.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [base, report, folder] = process.argv.slice(2);
const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
const pages = [["run", `${base}/run.html#lang=en`], ["report", `file://${path.resolve(report)}`]];

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let clean = true;
for (const [name, address] of pages) {
  for (const width of [320, 1440]) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
      const page = await context.newPage();
      const problems = [];
      page.on("request", (request) => {
        if (![base, "blob:", "data:", "file:"].some((start) => request.url().startsWith(start))) problems.push(`asked ${request.url()}`);
      });
      page.on("pageerror", (error) => problems.push(error.message));
      page.on("console", (line) => ["error", "warning"].includes(line.type()) && problems.push(line.text()));
      await page.goto(address);
      if (name === "run") {
        await page.waitForSelector("#table tbody tr");
        const told = await (await fetch(`${base}/v1/run`)).json();
        const rows = await page.locator("#table tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));
        const keys = ["epoch", "step", "train_loss", "train_top1", "train_top5", "eval_loss", "eval_top1", "eval_top5", "lr"];
        const expected = told.rows.map((row) => keys.map((key) => String(row[key] ?? "")));
        if (JSON.stringify(rows) !== JSON.stringify(expected)) problems.push("the table is not what the server says");
        if (!(await page.textContent("#said"))) problems.push("no epoch was said");
      }
      await page.waitForTimeout(300);
      if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) problems.push("wider than the window");
      const debug = await context.newCDPSession(page);
      await debug.send("Runtime.evaluate", { expression: axe });
      const expression =
        `axe.run({ runOnly: ${JSON.stringify(tags)} })` +
        ".then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')}`))";
      const found = await debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
      problems.push(...(found.result.value ?? [`axe: ${found.result.description}`]));
      if (folder) await page.screenshot({ path: path.join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      if (name === "run") {
        await page.click("#language");
        await page.reload();
        await page.waitForSelector("#table tbody tr");
        if ((await page.textContent("#now-title")) === "Now") problems.push("the language did not survive a reload");
      }
      console.log(name, width, colorScheme, problems.length ? problems.join("\n  ") : "clean");
      clean &&= problems.length === 0;
      await context.close();
    }
  }
}
await browser.close();
process.exit(clean ? 0 : 1);

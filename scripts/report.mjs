// Opens pages of `top5 eval --report` in Chromium at 320 and 1440 pixels, light and dark, and looks for faults: requests, errors in
// the console, content wider than the window, and what axe finds.
//
//     npm install playwright-core axe-core      (Debian has chromium)
//     node scripts/report.mjs DIR/report.html...
//
// One line per page and window; the exit status is 0 if all are clean.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
let clean = process.argv.length > 2;
for (const file of process.argv.slice(2)) {
  for (const width of [320, 1440]) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
      const page = await context.newPage();
      const problems = [];
      const address = pathToFileURL(path.resolve(file)).href;
      page.on("request", (request) => {
        if (![address, "data:"].some((start) => request.url().startsWith(start))) problems.push(`asked ${request.url()}`);
      });
      page.on("pageerror", (error) => problems.push(error.message));
      page.on("console", (line) => ["error", "warning"].includes(line.type()) && problems.push(line.text()));
      await page.goto(address);
      if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) problems.push("wider than the window");
      await page.evaluate(axe);
      const found = await page.evaluate(async (runOnly) => (await window.axe.run({ runOnly })).violations, tags);
      problems.push(...found.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(" | ")}`));
      console.log(file, width, colorScheme, problems.length ? problems.join("\n  ") : "clean");
      clean &&= problems.length === 0;
      await context.close();
    }
  }
}
await browser.close();
process.exit(clean ? 0 : 1);

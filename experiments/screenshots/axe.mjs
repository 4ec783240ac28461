// Checks a report's page with axe-core (WCAG 2.2 A and AA, and its best practices) in Chromium, at three widths, light and
// dark, as it opens and with two trials pinned. Exits with 1 if a rule is broken, a script fails or the page is too wide.
//
//     npm install --no-save axe-core playwright-core
//     node experiments/screenshots/axe.mjs report.html /usr/bin/chromium
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";

const load = createRequire(`${process.cwd()}/`);
const { chromium } = load("playwright-core");
const axe = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const [page, executablePath] = process.argv.slice(2);
if (!executablePath) throw new Error("usage: node axe.mjs REPORT.html CHROMIUM");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
let wrong = 0;
for (const width of [1440, 1024, 390])
  for (const colorScheme of ["light", "dark"])
    for (const pins of [0, 2]) {
      const tab = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      const errors = [];
      tab.on("pageerror", (error) => errors.push(`script: ${error.message}`));
      await tab.goto(pathToFileURL(resolve(page)).href);
      for (const pin of (await tab.$$("td [data-pin]")).slice(0, pins)) await pin.click();
      if ((await tab.$$("td [data-pin]")).length < pins) errors.push("nothing to pin");
      await tab.evaluate(axe);
      const found = await tab.evaluate((values) => axe.run(document, { runOnly: values }), TAGS);
      for (const rule of found.violations) errors.push(`${rule.id} (${rule.impact}): ${rule.nodes[0].html.slice(0, 120)}`);
      const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) errors.push(`${wide} px too wide`);
      console.log(`${width} px, ${colorScheme}, ${pins} pinned: ${found.passes.length} rules hold, ${errors.length} wrong`);
      for (const error of errors) console.log(`  ${error}`);
      wrong += errors.length;
      await tab.close();
    }
await browser.close();
process.exit(wrong ? 1 : 0);

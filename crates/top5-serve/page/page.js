// The page: views of what networks see, one at a time, beside the image that they are shown. Plain modules; what is served is
// what is in the repository.

import { address, ask, at, exported, fail, fetched, make, model, said, say, state, text } from "./core.js";
import { draw } from "./drawing.js";
import { TEXTS } from "./texts.js";

/**
 * What a view is: it fills its part of the page; `image` is called when another image is chosen.
 * @typedef {{show: (root: HTMLElement) => void | Promise<void>, image?: () => void, leave?: () => void}} View
 */

/** The views in their order, and whether they look at an image. @type {[string, boolean, () => Promise<View>][]} */
const VIEWS = [
  ["classify", true, () => import("./classify.js")],
  ["champions", true, () => import("./champions.js")],
  ["explain", true, () => import("./explain.js")],
  ["occlude", true, () => import("./occlude.js")],
  ["walk", true, () => import("./walk.js")],
  ["blocks", true, () => import("./blocks.js")],
  ["evaluation", false, () => import("./evaluation.js")],
  ["gallery", false, () => import("./gallery.js")],
  ["evolution", false, () => import("./evolution.js")],
  ["compare", false, () => import("./compare.js")],
  ["kernel", false, () => import("./kernel.js")],
  ["zoo", false, () => import("./zoo.js")],
  ["history", false, () => import("./history.js")],
];

/** @type {View | null} */
let view = null;
let shown = "";
/** Whether the server shows a training run, too. */
let watched = false;

function recall() {
  const preferred = navigator.language.startsWith("zh") ? "zh" : "en";
  const language = said("lang", preferred);
  state.language = Object.hasOwn(TEXTS, language) ? language : "en";
}

/** How often something was shown: what comes late gives way to what was asked for later. */
let showings = 0;

/** Shows what the address says. */
async function show() {
  showings += 1;
  const own = showings;
  recall();
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text]"))) {
    node.textContent = text(/** @type {string} */ (node.dataset.text));
  }
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-label]"))) {
    node.setAttribute("aria-label", text(/** @type {string} */ (node.dataset.label)));
  }
  const other = at("language");
  other.textContent = state.language === "zh" ? "English" : "中文";
  other.lang = state.language === "zh" ? "en" : "zh-CN";
  const [name, looks, load] = VIEWS.find(([known]) => known === said("view")) ?? VIEWS[0];
  const links = VIEWS.map(([known]) => make("li", {}, make("a", {
    href: address({ view: known }), text: text(`view-${known}`), "aria-current": known === name && "page",
  })));
  if (watched) links.push(make("li", {}, make("a", { href: "run.html", text: text("view-run") })));
  at("views").replaceChildren(make("ul", {}, ...links));
  at("image").hidden = !looks;
  at("model-line").hidden = name === "champions";
  /** @type {HTMLSelectElement} */ (at("model")).value = model().name;
  at("preview").setAttribute("alt", text("shown"));
  at("drawing").hidden = Boolean(exported) || !model().drawn_digits;
  at("drop").hidden = Boolean(exported);
  samples();
  document.title = `${text(`view-${name}`)} · top5`;
  view?.leave?.();
  view = null;
  // Each has a part of its own: what it adds late or listens to goes with it.
  const root = make("div", {}, make("h2", { id: "view-title", text: text(`view-${name}`) }), make("p", { text: text(`about-${name}`) }));
  at("view").replaceChildren(root);
  pixel();
  if (name !== shown) at("status").textContent = "";
  shown = name;
  try {
    const loaded = await load().catch(() => {
      throw new Error(text("gone"));
    });
    if (own !== showings) return;
    view = loaded;
    await view.show(root);
  } catch (error) {
    if (own !== showings) return;
    fail(error);
    // What is said of it is wiped away by the next one, even of the same view.
    shown = "";
  }
  if (own === showings) document.body.dataset.ready = name;
}

let choices = 0;

/** Begins a choice: what it gives says whether no other was begun since. Pictures may come late. */
function choice() {
  choices += 1;
  const own = choices;
  return () => own === choices;
}

/** Takes a file that was chosen, dropped, pasted or drawn. @param {Blob | null | undefined} blob @param {string} [file] @param {string | null} [sample] @param {string} [address] where it is, if it has an address */
function take(blob, file = "", sample = null, address = "") {
  if (!blob) return;
  choice();
  const preview = /** @type {HTMLImageElement} */ (at("preview"));
  if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
  preview.src = address || URL.createObjectURL(blob);
  preview.hidden = false;
  preview.onerror = () => { preview.hidden = true; };
  preview.onload = () => {
    // Pixels are worth seeing where there are few: a photograph that is made smaller loses by it.
    preview.classList.toggle("small", preview.naturalWidth < 100);
    pixel();
  };
  changed({ blob, file, sample });
}

/** Says that an image of a single pixel is one. */
function pixel() {
  const preview = /** @type {HTMLImageElement} */ (at("preview"));
  if (at("image").hidden || preview.hidden || preview.naturalWidth * preview.naturalHeight !== 1) return;
  at("view").append(make("p", { id: "pixel", class: "warning", text: text("pixel") }));
}

/** Looks at another image; what was said of the one before goes with it. @param {{blob: Blob | null, file: string, sample: string | null}} image */
function changed(image) {
  Object.assign(state, image);
  at("view").querySelector("#pixel")?.remove();
  view?.image?.();
}

/** @type {{name: string, label: string, image: string}[]} */
let known = [];

/** Images that are part of the program. */
function samples() {
  const place = (/** @type {string} */ image) => (exported ? image.slice(image.lastIndexOf("/") + 1) : image);
  const pick = async (/** @type {typeof known[number]} */ sample) => {
    // A page of files reads no files.
    const wanted = choice();
    try {
      const blob = exported ? new Blob() : await (await fetched(sample.image)).blob();
      if (wanted()) take(blob, `${sample.name}.png`, sample.name, place(sample.image));
    } catch (error) {
      if (wanted()) fail(error);
    }
  };
  at("samples").replaceChildren(...known.map((sample) => make("button", { type: "button", class: "sample", onclick: () => pick(sample) },
    make("img", { src: place(sample.image), alt: text("sample", { label: sample.label }), width: 40, height: 40 }))));
}

async function open() {
  const served = await ask("v1/models");
  state.models = served.models;
  watched = served.run && !exported;
  known = (await ask("v1/samples")).samples;
  at("model").replaceChildren(...state.models.map(({ name }) => make("option", { value: name, text: name })));
  at("model").addEventListener("change", (event) => {
    say({ model: /** @type {HTMLSelectElement} */ (event.target).value, layer: null, class: null, against: null, block: null, off: null });
    show();
  });
  at("language").addEventListener("click", () => {
    say({ lang: state.language === "zh" ? "en" : "zh" });
    show();
  });
  at("views").addEventListener("click", (event) => {
    const link = /** @type {Element} */ (event.target).closest("a");
    if (!link?.getAttribute("href")?.startsWith("#")) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    show().then(() => /** @type {HTMLElement | null} */ (at("views").querySelector("[aria-current]"))?.focus());
  });
  // An address of its own would be taken for what the page shows.
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    at("view").focus();
  });
  const file = /** @type {HTMLInputElement} */ (at("file"));
  file.addEventListener("change", () => take(file.files?.[0], file.files?.[0]?.name));
  addEventListener("paste", (event) => {
    const pasted = event.clipboardData?.files[0];
    take(pasted, pasted?.name);
  });
  addEventListener("popstate", show);
  const drop = at("drop");
  addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const dropped = event.dataTransfer?.files[0];
    take(dropped, dropped?.name);
  });
  draw(choice, (blob) => {
    at("preview").hidden = true;
    changed({ blob, file: "digit.png", sample: null });
  });
  await show();
}

open().catch((error) => {
  recall();
  fail(error);
});

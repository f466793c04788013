// Two networks, layer by layer: what one has and the other has not. And a weights file's tensors, read in this page: the file goes
// nowhere.

import { ask, at, command, copied, exported, fail, make, number, said, say, select, table, text } from "./core.js";

/** @param {HTMLElement} root */
export async function show(root) {
  const { models } = await ask("v1/zoo");
  const there = (/** @type {any} */ row) => row.input && (!exported || exported.answers[`v1/zoo/${row.name}/layers`]);
  const names = models.filter(there).map((/** @type {any} */ row) => [row.name, row.name]);
  const out = make("div", { id: "differences" });
  const chosen = [said("a", "resnet50"), said("b", "resnet50_v1")];
  const compare = async () => {
    say({ a: chosen[0], b: chosen[1] });
    const [a, b] = await Promise.all(chosen.map((name) => ask(`v1/zoo/${name}/layers`)));
    out.replaceChildren(...differences(a, b));
  };
  const pick = (/** @type {number} */ which) => select(names, chosen[which], (name) => {
    chosen[which] = name;
    compare();
  });
  root.append(make("p", { class: "controls" }, make("label", { class: "control" }, text("first-network"), " ", pick(0)),
    make("label", { class: "control" }, text("second-network"), " ", pick(1))), out);
  await compare();
  if (!exported) root.append(...opened());
}

/** @param {any} a @param {any} b */
function differences(a, b) {
  const [of, other] = [a, b].map((network) => new Map(network.layers.map((/** @type {any} */ layer) => [layer.name, layer])));
  const shape = (/** @type {any} */ layer) => (layer ? `${layer.kind} ${layer.attributes} → ${layer.output.join(" × ")}` : text("absent"));
  const names = [...new Set([...of.keys(), ...other.keys()])];
  // A layer's own settings: that its input has another size is told where that begins.
  const own = (/** @type {any} */ layer) => layer && JSON.stringify([layer.kind, layer.attributes, layer.params, layer.inputs]);
  const moved = names.filter((name) => own(of.get(name)) !== own(other.get(name)));
  const rows = moved.map((name) => [String(name), shape(of.get(name)), shape(other.get(name))]);
  const sum = (/** @type {any} */ network, /** @type {string} */ key) => network.layers.reduce((/** @type {number} */ all, /** @type {any} */ layer) => all + layer[key], 0);
  const totals = table(text("totals"), [text("view-compare"), a.name, b.name], ["params", "macs"].map((key) => [text(key), number(sum(a, key)), number(sum(b, key))])
    .concat([[text("layers"), number(a.layers.length), number(b.layers.length)]]));
  const words = text(moved.length ? "differ" : "alike", { count: number(moved.length), a: a.name, b: b.name });
  at("status").textContent = words;
  return [make("p", { text: words }), totals,
    ...(moved.length ? [table(text("differences"), [text("layer"), a.name, b.name], rows)] : []),
    copied(command(["top5", "show", a.name])), copied(command(["top5", "show", b.name]))];
}

/** A file is opened here. */
function opened() {
  const out = make("div", { id: "tensors" });
  const file = make("input", {
    type: "file", id: "weights", accept: ".safetensors",
    onchange: async () => {
      out.replaceChildren();
      if (!file.files[0]) return;
      try {
        out.replaceChildren(tensors(await header(file.files[0])));
      } catch (error) {
        fail(error);
      }
    },
  });
  return [make("h3", { text: text("weights-file") }), make("p", {}, make("label", { class: "control" }, text("about-weights"), " ", file)), out];
}

/** The tensors of a safetensors file as its header describes them. @param {File} file @returns {Promise<[string, any][]>} */
async function header(file) {
  const wrong = new Error(text("no-safetensors"));
  const first = new DataView(await file.slice(0, 8).arrayBuffer());
  if (first.byteLength < 8) throw wrong;
  const length = Number(first.getBigUint64(0, true));
  if (length > Math.min(file.size - 8, 100 << 20)) throw wrong;
  try {
    const described = Object.entries(JSON.parse(await file.slice(8, 8 + length).text())).filter(([name]) => name !== "__metadata__");
    const isSize = (/** @type {any} */ size) => Number.isSafeInteger(size) && size >= 0;
    if (described.every(([, tensor]) => typeof tensor.dtype === "string" && tensor.shape.every(isSize))) return described;
  } catch {
    // As for what is described otherwise.
  }
  throw wrong;
}

/** @param {[string, {dtype: string, shape: number[]}][]} all */
function tensors(all) {
  const count = (/** @type {{shape: number[]}} */ tensor) => tensor.shape.reduce((product, size) => product * size, 1);
  const sum = all.reduce((total, [, tensor]) => total + count(tensor), 0);
  const caption = text("tensors", { count: number(all.length), values: number(sum) });
  at("status").textContent = caption;
  return table(caption, [text("name"), text("type"), text("shape"), text("elements")],
    all.map(([name, tensor]) => [name, tensor.dtype, tensor.shape.join(" × "), number(count(tensor))]));
}

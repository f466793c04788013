// Drawing a digit, with a pointer or with the keys.

import { at } from "./core.js";

const STEPS = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };

/**
 * @param {() => () => boolean} begin is called when a picture is about to be made; what it gives says whether it is still wanted
 * @param {(drawn: Blob | null) => void} take gets the picture after each stroke, and null when it is cleared
 */
export function draw(begin, take) {
  const canvas = /** @type {HTMLCanvasElement} */ (at("canvas"));
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {{x: number, y: number} | null} */
  let last = null;
  let keys = { x: 140, y: 60, down: true };
  const start = () => {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 280, 280);
    Object.assign(pen, { lineWidth: 20, lineCap: "round", lineJoin: "round", strokeStyle: "#000" });
    keys = { x: 140, y: 60, down: true };
  };
  const line = (/** @type {number} */ x, /** @type {number} */ y) => {
    pen.beginPath();
    pen.moveTo(last?.x ?? x, last?.y ?? y);
    pen.lineTo(x, y);
    pen.stroke();
    last = { x, y };
  };
  const place = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return /** @type {[number, number]} */ (
      [(event.clientX - box.left) * 280 / box.width, (event.clientY - box.top) * 280 / box.height]);
  };
  const done = () => {
    last = null;
    const wanted = begin();
    canvas.toBlob((blob) => wanted() && take(blob));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    line(...place(event));
  });
  canvas.addEventListener("pointermove", (event) => last && line(...place(event)));
  canvas.addEventListener("pointerup", () => last && done());
  canvas.addEventListener("pointercancel", () => { last = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
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
    begin();
    take(null);
  });
  start();
}

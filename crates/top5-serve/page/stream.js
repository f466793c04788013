// The events of a run, and those that listen to them. A browser opens six connections to a server and no more, and a stream keeps
// one for as long as it lasts: so all tabs share one, in a worker of theirs, which is this file, too.

/** Milliseconds until the server is asked again, where the browser does not do so by itself. */
const AGAIN = 3000;

/**
 * Listens, and goes on when the connection breaks. `tell` is told `history`, `more` and `lost`. Returns what begins anew.
 * @param {(kind: string, data?: string) => void} tell
 */
export function stream(tell) {
  /** @type {EventSource | undefined} */
  let source;
  /** @type {any} */
  let timer;
  const listen = () => {
    clearTimeout(timer);
    source?.close();
    const own = new EventSource("v1/run/events");
    source = own;
    for (const kind of ["history", "more"]) own.addEventListener(kind, (event) => tell(kind, event.data));
    own.addEventListener("error", () => {
      tell("lost");
      // An answer that is no stream ends it for good.
      if (own.readyState === EventSource.CLOSED) timer = setTimeout(listen, AGAIN);
    });
  };
  listen();
  return listen;
}

/** As `stream`, with one connection for all tabs. @param {(kind: string, data?: string) => void} tell */
export function shared(tell) {
  if (!("SharedWorker" in globalThis)) return void stream(tell);
  const worker = new SharedWorker(new URL("stream.js", location.href), { type: "module" });
  worker.onerror = () => void stream(tell);
  worker.port.onmessage = ({ data: [kind, data] }) => tell(kind, data);
}

if ("SharedWorkerGlobalScope" in globalThis) {
  /** @type {MessagePort[]} */
  const tabs = [];
  /** @type {(() => void) | undefined} */
  let anew;
  /** @type {any} */ (globalThis).onconnect = (/** @type {MessageEvent} */ { ports: [tab] }) => {
    tabs.push(tab);
    // A new tab needs all that was told before; the others take it in place of what they have.
    if (anew) anew();
    else anew = stream((kind, data) => tabs.forEach((one) => one.postMessage([kind, data])));
  };
}

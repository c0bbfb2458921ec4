// @ts-check
// The hub's own live stream: the overview once a second, and the data of the view that is shown.

import { EventStream } from "../tidewire.js";
import { api } from "./hub.js";

export class Live {
  /** @type {EventStream | undefined} */
  #stream;
  #url = "";
  #on;

  /**
   * @param {object} on
   * @param {(name: string, data: any) => void} on.data an event of the stream: `overview`, `topics`, `streams`
   * @param {(state: "connecting" | "live" | "lost" | "refused", error?: { message: string, status?: number }) => void} on.state
   */
  constructor(on) {
    this.#on = on;
  }

  /**
   * Open the stream with this view, unless it is open already.
   *
   * @param {Record<string, string | number | undefined>} view
   */
  show(view) {
    const url = api.url("inspect/stream", view);
    if (url === this.#url && this.#stream?.readyState !== EventStream.CLOSED) return;
    this.#url = url;
    this.#stream?.close();
    const stream = new EventStream(url, { headers: () => api.headers() });
    this.#stream = stream;
    for (const name of ["overview", "topics", "streams", "gone"]) {
      stream.addEventListener(name, (/** @type {any} */ event) => this.#on.data(name, event.json()));
    }
    stream.addEventListener("open", () => this.#on.state("live"));
    stream.addEventListener("error", (/** @type {any} */ error) => this.#on.state(error.final ? "refused" : "lost", error));
  }

  close() {
    this.#stream?.close();
    this.#url = "";
  }
}

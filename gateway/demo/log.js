// The list of events: newest first, bounded, and touched once per animation frame whatever the rate.

import { make, perFrame } from "./frames.js";
import { duration, timeOfDay } from "./ids.js";

const ROWS = 200;
const SHOWN_CHARACTERS = 2000;

export class EventLog {
  #body;
  #hue;
  #waiting = [];
  #skipped = 0;
  #flush = perFrame(() => this.#show());
  held = false;

  /** `hue(channel)` is the number of the channel's colour. */
  constructor(body, hue) {
    this.#body = body;
    this.#hue = hue;
  }

  add(publication) {
    this.#push(() => this.#row(publication));
  }

  /** A line across the list: what happened to the connection. `kind` is its colour. */
  note(kind, title, text = "") {
    const at = Date.now();
    this.#push(() =>
      make("tr.note", { role: "row", "data-note": kind },
        make("td", { role: "cell", colspan: 5 },
          make("time", {}, timeOfDay(at)), make("b", {}, title), make("span", {}, text))));
  }

  /** While held, the list stands still; what arrives waits, the newest 200 of it. */
  hold(held) {
    this.held = held;
    if (!held) this.#flush();
  }

  get waiting() {
    return this.held ? this.#waiting.length + this.#skipped : 0;
  }

  clear() {
    this.#waiting = [];
    this.#skipped = 0;
    this.#body.replaceChildren();
  }

  // Rows are built when they are shown: of a burst only the last 200 ever become elements.
  #push(build) {
    this.#waiting.push(build);
    if (this.#waiting.length > 2 * ROWS) {
      this.#skipped += this.#waiting.length - ROWS;
      this.#waiting = this.#waiting.slice(-ROWS);
    }
    if (!this.held) this.#flush();
  }

  #show() {
    const fragment = document.createDocumentFragment();
    for (const build of this.#waiting.slice(-ROWS).reverse()) fragment.append(build());
    this.#waiting = [];
    this.#skipped = 0;
    this.#body.prepend(fragment);
    while (this.#body.rows.length > ROWS) this.#body.deleteRow(-1);
  }

  #row({ id, position, type, channel, data, delayMs, replayed, repeated }) {
    const text = data.length > SHOWN_CHARACTERS
      ? `${data.slice(0, SHOWN_CHARACTERS)}… (${data.length - SHOWN_CHARACTERS} more characters)`
      : data;
    const cells = [
      // The id begins with the time in milliseconds; a phone has room for the time only.
      make("td.id", { role: "cell", title: position ? `${id}\npublished at ${timeOfDay(position.ms)}` : id },
        make("span.whole", {}, id), make("span.time", {}, position ? timeOfDay(position.ms) : id)),
      make("td.channel", { role: "cell", "data-hue": this.#hue(channel) }, channel),
      make("td.type", { role: "cell" }, type === "message" ? "" : type),
      make("td.data", { role: "cell" }, make("div", {}, text)),
      make("td.delay", { role: "cell" },
        ...(replayed ? [make("em", {}, "replayed")] : []),
        ...(repeated ? [make("em.wrong", {}, "repeated")] : []),
        Number.isNaN(delayMs) ? "" : duration(delayMs)),
    ];
    return make("tr", {
      role: "row", "data-id": id, "data-channel": channel, "data-type": type, "data-replayed": replayed && "",
    }, ...cells);
  }
}

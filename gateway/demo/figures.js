// The row of figures under the window.

import { perFrame } from "./frames.js";
import { duration } from "./ids.js";

const DELAYS = 500;
const RATE_MS = 5000;

export class Figures {
  #fields;
  #counts = { events: 0, replayed: 0, resumes: 0, gaps: 0, repeated: 0 };
  #delays = [];
  #arrivals = [];
  #cursor = "";
  #show = perFrame(() => this.#write());

  /** `fields` is the list whose elements carry `data-figure`. */
  constructor(fields) {
    this.#fields = Object.fromEntries([...fields].map((field) => [field.dataset.figure, field]));
    setInterval(this.#show, 1000);
  }

  add({ id, delayMs, receivedMs, replayed, repeated }) {
    this.#counts.events += 1;
    if (replayed) this.#counts.replayed += 1;
    if (repeated) this.#counts.repeated += 1;
    // Only live events say how fast the path is: a replayed one waited for this page.
    if (!replayed && !Number.isNaN(delayMs)) {
      this.#delays.push(delayMs);
      if (this.#delays.length > DELAYS) this.#delays.shift();
    }
    this.#arrivals.push(receivedMs);
    this.at(id);
  }

  opened({ id, resumed }) {
    if (resumed) this.#counts.resumes += 1;
    this.at(id);
  }

  gap({ id }) {
    this.#counts.gaps += 1;
    this.at(id);
  }

  at(id) {
    this.#cursor = id;
    this.#show();
  }

  #write() {
    const now = Date.now();
    let old = 0;
    while (old < this.#arrivals.length && this.#arrivals[old] < now - RATE_MS) old += 1;
    this.#arrivals.splice(0, old);
    const rate = this.#arrivals.length / (RATE_MS / 1000);
    const sorted = this.#delays.toSorted((a, b) => a - b);
    const quantile = (q) => (sorted.length ? duration(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]) : "–");
    const values = {
      ...Object.fromEntries(Object.entries(this.#counts).map(([name, n]) => [name, n.toLocaleString("en")])),
      rate: rate >= 10 ? rate.toFixed(0) : rate.toFixed(1),
      median: quantile(0.5),
      p99: quantile(0.99),
      cursor: this.#cursor || "–",
    };
    for (const [name, field] of Object.entries(this.#fields)) {
      if (field.textContent !== values[name]) field.textContent = values[name];
    }
    this.#fields.repeated.classList.toggle("wrong", this.#counts.repeated > 0);
  }
}

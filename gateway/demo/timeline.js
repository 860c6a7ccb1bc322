// The last minute, one bar a second, by the time of *publishing* (from the ids): when a connection
// was cut, its seconds stay empty until the replay fills them.

import { draw, perFrame } from "./frames.js";

const SECONDS = 60;
const WIDTH = 10;
const HEIGHT = 60;
const LANE = 66;

// Rounded, not floored: what ticks on the full second would else fall now into one bar, now into the next.
const secondOf = (ms) => Math.round(ms / 1000);

export class Timeline {
  #counts = new Map();
  #spans = [];
  #bars = [];
  #lane;
  #peak;
  #draw = perFrame(() => this.#show());
  #drawnMs = 0;

  constructor(svg, peak) {
    this.#peak = peak;
    svg.setAttribute("viewBox", `0 0 ${SECONDS * WIDTH} 70`);
    for (let i = 0; i < SECONDS; i += 1) {
      const x = i * WIDTH + 1;
      const live = draw("rect", { class: "live", x, width: WIDTH - 2, y: HEIGHT, height: 0 });
      const replayed = draw("rect", { class: "replayed", x, width: WIDTH - 2, y: HEIGHT, height: 0 });
      this.#bars.push({ live, replayed });
      svg.append(live, replayed);
    }
    svg.append(draw("path", { class: "off", d: `M0 ${LANE}H${SECONDS * WIDTH}` }));
    this.#lane = draw("path", { class: "on", d: "" });
    svg.append(this.#lane);
    setInterval(this.#draw, 1000);
  }

  add({ position, receivedMs, replayed }) {
    const second = secondOf(position?.ms ?? receivedMs);
    const count = this.#counts.get(second) ?? { live: 0, replayed: 0 };
    count[replayed ? "replayed" : "live"] += 1;
    this.#counts.set(second, count);
    if (receivedMs - this.#drawnMs > 100) this.#draw();
  }

  connected(on) {
    const now = Date.now();
    const open = this.#spans.at(-1);
    if (on && (!open || open.to)) this.#spans.push({ from: now, to: 0 });
    if (!on && open && !open.to) open.to = now;
    this.#draw();
  }

  #show() {
    const now = Date.now();
    this.#drawnMs = now;
    const first = secondOf(now) - SECONDS + 1;
    const firstMs = (first - 0.5) * 1000;
    for (const second of this.#counts.keys()) if (second < first) this.#counts.delete(second);
    let most = 0;
    for (const { live, replayed } of this.#counts.values()) most = Math.max(most, live + replayed);
    const unit = (HEIGHT - 4) / Math.max(4, most);
    this.#bars.forEach(({ live, replayed }, index) => {
      const count = this.#counts.get(first + index);
      const low = (count?.live ?? 0) * unit;
      const high = (count?.replayed ?? 0) * unit;
      live.setAttribute("y", HEIGHT - low);
      live.setAttribute("height", low);
      replayed.setAttribute("y", HEIGHT - low - high);
      replayed.setAttribute("height", high);
    });
    this.#spans = this.#spans.filter(({ to }) => !to || to > firstMs);
    const x = (ms) => Math.max(0, Math.min(SECONDS * WIDTH, ((ms - firstMs) / 1000) * WIDTH)).toFixed(1);
    this.#lane.setAttribute("d", this.#spans.map(({ from, to }) => `M${x(from)} ${LANE}H${x(to || now)}`).join(""));
    this.#peak.textContent = most ? `highest second: ${most}` : "";
  }
}

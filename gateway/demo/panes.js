// The fanlight at the top: each channel has its share of the panes, and an event lights them.

import { calm, draw } from "./frames.js";

const HUB = { x: 200, y: 196, radius: 34 };
const TIP = 156;
const RIM = 172;
const AT_LEAST = 9;
const AFTERGLOW_MS = 900;

export class Panes {
  #group;
  #channels = [];
  #running = false;
  #last = 0;

  constructor(group) {
    this.#group = group;
  }

  /** Glazes the window anew. `channels` is a list of `{name, hue}`. */
  glaze(channels) {
    this.#group.replaceChildren();
    const each = Math.max(1, Math.ceil(AT_LEAST / Math.max(1, channels.length)));
    const total = each * Math.max(1, channels.length);
    const step = Math.PI / total;
    this.#channels = (channels.length ? channels : [{ name: "", hue: "" }]).map(({ name, hue }, index) => {
      const lights = [];
      const share = draw("g", { "data-hue": hue });
      if (name) share.append(Object.assign(draw("title"), { textContent: name }));
      for (let i = index * each; i < (index + 1) * each; i += 1) {
        const d = petal(Math.PI - i * step, Math.PI - (i + 1) * step);
        const light = draw("path", { class: "light", d });
        share.append(draw("path", { class: "glass", d }), light);
        lights.push(light);
      }
      // A roundel between each two heads, as the lead of old fanlights has.
      for (let i = index * each; i < (index + 1) * each; i += 1) {
        if (i) share.append(draw("circle", { class: "lead", ...centre(TIP + 1, Math.PI - i * step), r: 3 }));
      }
      const gap = 0.012;
      share.append(draw("path", {
        class: "rim", d: arc(RIM, Math.PI - index * each * step - gap, Math.PI - (index + 1) * each * step + gap),
      }));
      this.#group.append(share);
      return { name, lights, glow: 0, replayed: false };
    });
  }

  flash(channel, replayed) {
    const pane = this.#channels.find(({ name }) => name === channel);
    if (!pane) return;
    pane.glow = 1;
    if (pane.replayed !== replayed) {
      pane.replayed = replayed;
      for (const light of pane.lights) light.classList.toggle("replayed", replayed);
    }
    if (!this.#running) {
      this.#running = true;
      this.#last = performance.now();
      requestAnimationFrame(this.#fade);
    }
  }

  // Runs only while something glows. With reduced motion a pane is on or off, without a fade.
  #fade = (now) => {
    const passed = Math.max(0, now - this.#last) / AFTERGLOW_MS;
    this.#last = now;
    this.#running = false;
    for (const pane of this.#channels) {
      if (!pane.glow) continue;
      pane.glow = Math.max(0, pane.glow - passed);
      const strength = calm.matches ? Math.ceil(pane.glow) * 0.7 : Math.min(1, 1.5 * pane.glow) ** 1.2;
      for (const light of pane.lights) light.style.opacity = strength.toFixed(3);
      if (pane.glow) this.#running = true;
    }
    if (this.#running) requestAnimationFrame(this.#fade);
  };
}

const centre = (radius, angle) => ({
  cx: (HUB.x + radius * Math.cos(angle)).toFixed(1), cy: (HUB.y - radius * Math.sin(angle)).toFixed(1),
});

const at = (radius, angle) =>
  `${(HUB.x + radius * Math.cos(angle)).toFixed(1)} ${(HUB.y - radius * Math.sin(angle)).toFixed(1)}`;

const arc = (radius, from, to) => `M${at(radius, from)}A${radius} ${radius} 0 0 1 ${at(radius, to)}`;

// A pane with a round head: straight sides from the hub, closed by a half circle over its chord.
function petal(from, to) {
  const bar = 0.011;
  const [a, b] = [from - bar, to + bar];
  const half = (a - b) / 2;
  const shoulder = TIP / (Math.cos(half) + Math.sin(half));
  const head = (shoulder * Math.sin(half)).toFixed(2);
  const foot = HUB.radius + 7;
  return `M${at(foot, a)}L${at(shoulder, a)}A${head} ${head} 0 0 1 ${at(shoulder, b)}` +
    `L${at(foot, b)}A${foot} ${foot} 0 0 0 ${at(foot, a)}Z`;
}

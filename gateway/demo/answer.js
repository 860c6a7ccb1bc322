// The streamed answer: a channel of its own, a word an event, `fanlight.end` when it is complete.

import { ask, eventsUrl } from "./gateway.js";
import { make, perFrame } from "./frames.js";
import { isAfter, parseId, timeOfDay } from "./ids.js";

const AWAY_MS = 2000;

export class Answer {
  #ui;
  #source = null;
  #state = null;
  #words = [];
  #timer = 0;
  #show = perFrame(() => this.#write());

  /** `ui`: form, text, notes, status, cut, received, announced, replayed, cuts, channel (elements). */
  constructor(ui) {
    this.#ui = ui;
    ui.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(ui.form.elements.prompt.value.trim());
    });
    ui.cut.addEventListener("click", () => this.#cut());
  }

  async #ask(prompt) {
    if (!prompt) return;
    this.#close();
    this.#words = [];
    this.#state = {
      channel: "", cursor: "", position: null, received: 0, announced: null, replayed: 0, cuts: 0, repeated: 0,
      replaying: true, ended: false,
    };
    this.#ui.text.replaceChildren();
    this.#ui.notes.replaceChildren();
    this.#ui.text.setAttribute("aria-busy", "true");
    this.#status("asking", "Asking.");
    this.#show();
    try {
      this.#state.channel = await ask(prompt);
    } catch (error) {
      this.#status("failed", error.message);
      return;
    }
    this.#connect();
  }

  #connect() {
    const state = this.#state;
    state.replaying = true;
    // The first words may be there before this connection is: begin with the newest 100 events.
    const source = new EventSource(eventsUrl([state.channel], { cursor: state.cursor, last: 100 }));
    this.#source = source;
    source.onmessage = (event) => this.#word(event);
    source.addEventListener("metadata", (event) => this.#metadata(event));
    source.addEventListener("fanlight.open", (event) => {
      state.cursor = event.lastEventId;
      state.replaying = false;
      if (!state.ended) this.#status("streaming", state.cuts ? "Connected again, and going on." : "Words are coming.");
    });
    source.addEventListener("fanlight.gap", (event) => {
      if (event.lastEventId) state.cursor = event.lastEventId;
      this.#note("gap", `fanlight.gap ${event.data}`);
    });
    source.addEventListener("fanlight.end", (event) => this.#end(event));
    source.onerror = () => this.#onError(source);
  }

  #word(event) {
    const state = this.#state;
    const position = parseId(event.lastEventId);
    if (position && state.position && !isAfter(position, state.position)) state.repeated += 1;
    state.position = position;
    state.cursor = event.lastEventId;
    state.received += 1;
    const replayed = state.replaying && state.cuts > 0;
    if (replayed) state.replayed += 1;
    this.#words.push({ text: event.data, replayed });
    this.#show();
  }

  #metadata(event) {
    this.#state.cursor = event.lastEventId;
    let facts = {};
    try {
      facts = JSON.parse(event.data);
    } catch {
      // Shown as it is.
    }
    if (Number.isInteger(facts.words)) this.#state.announced = facts.words;
    this.#note("metadata", event.data);
    this.#show();
  }

  #end(event) {
    const state = this.#state;
    state.cursor = event.lastEventId;
    state.ended = true;
    this.#ui.text.setAttribute("aria-busy", "false");
    this.#note("end", "fanlight.end: the channel is closed, nothing will follow");
    const lost = state.announced === null ? 0 : state.announced - state.received;
    const sum = lost || state.repeated
      ? `${Math.abs(lost)} words ${lost < 0 ? "too many" : "lost"}, ${state.repeated} repeated.`
      : `Complete: ${state.received} words${state.cuts ? `, cut ${state.cuts === 1 ? "once" : `${state.cuts} times`}, ${state.replayed} of them replayed` : ""}. None lost, none repeated.`;
    this.#status(lost || state.repeated ? "failed" : "complete", sum);
    this.#show();
  }

  // After the end the gateway closes the stream; the browser comes back once with the last id, is
  // answered 204, and stops for good: no code is needed for that.
  #onError(source) {
    const state = this.#state;
    if (source !== this.#source) return;
    if (source.readyState === EventSource.CLOSED) {
      this.#source = null;
      if (state.ended) this.#note("end", "the browser asked once more, got 204 No Content, and stopped");
      else this.#status("failed", "The browser gave up on the stream.");
      this.#show();
    } else if (!state.ended) {
      state.cuts += 1;
      state.replaying = true;
      this.#status("cut", "The connection broke. The browser is coming back.");
    }
  }

  #cut() {
    const state = this.#state;
    this.#close();
    state.cuts += 1;
    this.#words.push({ cut: true });
    this.#note("cut", `cut after ${state.cursor || "nothing"}`);
    this.#status("cut", "Cut. The answer is still being written; back in 2 s.");
    this.#show();
    this.#timer = setTimeout(() => this.#connect(), AWAY_MS);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #note(kind, text) {
    this.#ui.notes.prepend(make("li", { "data-note": kind }, make("time", {}, timeOfDay(Date.now())), text));
  }

  #status(kind, text) {
    this.#ui.status.dataset.kind = kind;
    this.#ui.status.textContent = text;
    this.#ui.cut.disabled = kind !== "streaming";
  }

  #write() {
    const fragment = document.createDocumentFragment();
    for (const { text, replayed, cut } of this.#words) {
      if (cut) fragment.append(make("span.cut", { title: "cut here", "aria-hidden": "true" }));
      else fragment.append(make("span", { "data-replayed": replayed && "" }, text));
    }
    this.#words = [];
    this.#ui.text.append(fragment);
    const { received, announced, replayed, cuts, channel } = this.#state;
    this.#ui.received.textContent = received;
    this.#ui.announced.textContent = announced ?? "–";
    this.#ui.replayed.textContent = replayed;
    this.#ui.cuts.textContent = cuts;
    this.#ui.channel.textContent = channel || "–";
    this.#ui.meter.max = announced || 1;
    this.#ui.meter.value = received;
  }
}

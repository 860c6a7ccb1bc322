// One subscription over a native EventSource: its state, its cursor, and what it replayed.
//
// Emits (all CustomEvents, the value in `detail`):
//   state        {state, text}            connecting | connected | resumed | disconnected
//   publication  {id, position, type, channel, data, receivedMs, delayMs, replayed, repeated}
//   open         {id, resumed, replayed, repeated}    fanlight.open: the replay is over, now live
//   gap          {id, channel, reason, from, to}
//   end          {id, channel}

import { eventsUrl, whyClosed } from "./gateway.js";
import { isAfter, parseId } from "./ids.js";

const RESUMED_SHOWN_MS = 6000;
const RETRY_MS = 3000;

export class Stream extends EventTarget {
  /** The id of the last event: where a reconnect goes on. */
  cursor = "";
  state = "disconnected";
  channels = [];

  #source = null;
  #types = new Set();
  #position = null;
  #connection = null;
  #timer = 0;

  /** Connects, in place of the connection that there may be. Without `cursor` it begins afresh. */
  start(channels, { cursor = "", last = 0 } = {}) {
    this.#close();
    if (cursor !== this.cursor) this.#position = parseId(cursor);
    this.cursor = cursor;
    this.channels = [...channels];
    this.#setState("connecting", cursor ? `after ${cursor}` : "");
    this.#connection = newConnection();
    const source = new EventSource(eventsUrl(channels, { cursor, last, envelope: true }));
    this.#source = source;
    source.onopen = () => this.#setState("connected", "");
    source.onerror = () => this.#onError(source);
    source.addEventListener("fanlight.open", (event) => this.#onOpen(event));
    source.addEventListener("fanlight.gap", (event) => this.#onGap(event));
    source.addEventListener("fanlight.end", (event) => this.#onEnd(event));
    for (const type of this.#types) source.addEventListener(type, this.#onPublication);
  }

  /** Closes the connection, as a lost network would. The cursor stays. */
  cut(text) {
    this.#close();
    this.#setState("disconnected", text);
  }

  /** Which event types are heard: EventSource drops a named one that nobody asked for by name. */
  hear(types) {
    for (const type of this.#types) this.#source?.removeEventListener(type, this.#onPublication);
    this.#types = new Set(types);
    for (const type of this.#types) this.#source?.addEventListener(type, this.#onPublication);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #onPublication = (event) => {
    const receivedMs = Date.now();
    const { channel, data } = JSON.parse(event.data);
    const position = parseId(event.lastEventId);
    const repeated = Boolean(position && this.#position && !isAfter(position, this.#position));
    const { replaying } = this.#connection;
    if (replaying) this.#connection.replayed += 1;
    if (repeated) this.#connection.repeated += 1;
    this.#advance(event);
    this.#emit("publication", {
      id: event.lastEventId, position, type: event.type, channel, data, receivedMs,
      delayMs: position ? receivedMs - position.ms : NaN, replayed: replaying, repeated,
    });
  };

  #onOpen(event) {
    this.#advance(event);
    const { resumed } = JSON.parse(event.data);
    const { replayed, repeated } = this.#connection;
    this.#connection.replaying = false;
    if (resumed) {
      this.#setState("resumed", `${replayed} replayed`);
      this.#timer = setTimeout(() => this.#setState("connected", ""), RESUMED_SHOWN_MS);
    } else {
      this.#setState("connected", "");
    }
    this.#emit("open", { id: event.lastEventId, resumed, replayed, repeated });
  }

  #onGap(event) {
    this.#position = null;
    this.#advance(event);
    this.#emit("gap", { id: event.lastEventId, ...JSON.parse(event.data) });
  }

  #onEnd(event) {
    this.#advance(event);
    this.#emit("end", { id: event.lastEventId, ...JSON.parse(event.data) });
  }

  // The browser calls this when a connection broke: it comes back by itself (CONNECTING), or it gave
  // up for good (CLOSED), which it does on any status but 200.
  async #onError(source) {
    clearTimeout(this.#timer);
    if (source.readyState === EventSource.CONNECTING) {
      this.#connection = newConnection();
      this.#setState("connecting", this.cursor ? `again, after ${this.cursor}` : "again");
      return;
    }
    this.#setState("disconnected", "the browser gave up; asking why");
    const { final, text } = await whyClosed(eventsUrl(this.channels, { cursor: this.cursor, envelope: true }));
    if (source !== this.#source) return;
    this.#setState("disconnected", text);
    if (!final) {
      this.#timer = setTimeout(() => this.start(this.channels, { cursor: this.cursor }), RETRY_MS);
    }
  }

  // A gap may come without an id, when the place where the reader stood could not be read.
  #advance(event) {
    if (!event.lastEventId) return;
    this.cursor = event.lastEventId;
    this.#position = parseId(event.lastEventId);
  }

  #setState(state, text) {
    clearTimeout(this.#timer);
    this.state = state;
    this.#emit("state", { state, text });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// Events between the connect and `fanlight.open` are the replay; after it they are live.
const newConnection = () => ({ replaying: true, replayed: 0, repeated: 0 });

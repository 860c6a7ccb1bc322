// A gap, in plain words.

import { make } from "./frames.js";
import { parseId, timeOfDay } from "./ids.js";

/** Every reason that the gateway gives. */
export const REASONS = {
  trimmed: "The channel keeps only so many events. What you had not seen yet was dropped to make room for newer ones.",
  expired: "The channel’s events are gone by age: it was quiet, or you were away, for longer than events are kept.",
  failover: "Redis was restarted or another server took over, and its last events may be lost. Nobody can say which, so every reader who crosses that point is told.",
  epoch: "Your id comes from a history that this Redis doesn’t know: Redis was emptied, or it is another one.",
  unknown_cursor: "What was sent as the last event id is no id of this gateway’s at all.",
  future: "Your id lies ahead of everything that was ever published here, so it is no place to go on from.",
  rewritten: "Events are missing inside the channel’s log: somebody deleted or replaced them.",
  invalid: "Something in the channel’s log can’t be read as an event, or is too large to send.",
  late: "An event turned up after later ones had been sent already, because something writes to Redis around the publisher. The order can’t be mended, so it is told.",
  too_far_behind: "You asked for more of the past than one stream may read. The oldest of it was sent, and the rest up to now was left out.",
  unknown: "Redis no longer knows whether anything was published meanwhile. A false alarm is better than a silent hole.",
};

/** The explanation of one gap as an element. */
export function explain({ channel, reason, from, to }) {
  const [first, last] = [parseId(from), parseId(to)];
  const whose = channel ? `On the channel ${channel}` : "On all channels of this connection";
  let extent = "events may be missing up to now.";
  if (first && last) extent = `events published between ${timeOfDay(first.ms)} and ${timeOfDay(last.ms)} may be missing.`;
  else if (last) extent = `events published up to ${timeOfDay(last.ms)} may be missing.`;
  else if (first) extent = `events published after ${timeOfDay(first.ms)} may be missing.`;
  return make("div.gap", { "data-reason": reason },
    make("p.what", {}, make("code", {}, reason), ` ${REASONS[reason] ?? "The gateway gave a reason that this page doesn’t know."}`),
    make("p", {}, `${whose}, ${extent} Fetch the state anew, then read on: this connection is live again.`),
    make("dl.pairs", {},
      make("dt", {}, "channel"), make("dd", {}, channel ?? "null: all of this connection’s"),
      make("dt", {}, "from"), make("dd", {}, from ?? "null: not known"),
      make("dt", {}, "to"), make("dd", {}, to ?? "null: not known")));
}

/** Fills a definition list with all the reasons. */
export function listReasons(list) {
  list.replaceChildren(...Object.entries(REASONS).flatMap(([reason, text]) =>
    [make("dt", {}, make("code", {}, reason)), make("dd", {}, text)]));
}

/** Cursors that can't be resumed from. Each makes the gateway send a gap. */
export const BAD_CURSORS = {
  malformed: () => "yesterday-around-noon",
  foreign: (cursor) => {
    const id = parseId(cursor);
    const epoch = id?.epoch === "0ddba1" ? "0ddba2" : "0ddba1";
    return `${(id?.ms ?? Date.now()) - 60_000}-0-${epoch}`;
  },
  future: (cursor) => {
    const id = parseId(cursor);
    return id ? `${id.ms + 86_400_000}-0-${id.epoch}` : null;
  },
};

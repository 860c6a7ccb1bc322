// An event id is `<ms>-<seq>-<epoch>`: a position in one order that all channels share, and the name
// of the history that the position belongs to. As `last_event_id` it is a cursor.

const ID = /^(\d{1,20})-(\d{1,20})-([0-9a-f]{6})$/;

/** Reads an id. `null` for anything else (a gateway with several partitions gives out longer ones). */
export function parseId(text) {
  const match = ID.exec(text ?? "");
  return match && { ms: Number(match[1]), seq: BigInt(match[2]), epoch: match[3] };
}

/** Whether position `a` stands after position `b`. */
export function isAfter(a, b) {
  return a.ms > b.ms || (a.ms === b.ms && a.seq > b.seq);
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

/** Local wall time with milliseconds, `14:02:11.480`. */
export const timeOfDay = (ms) => clock.format(ms).replace(",", ".");

/** A duration as people say it: `3 ms`, `2.1 s`, `4 min`. */
export function duration(ms) {
  const size = Math.abs(ms);
  if (size < 1) return ms === 0 ? "<1 ms" : `${ms.toFixed(1)} ms`;
  if (size < 1000) return `${Math.round(ms)} ms`;
  if (size < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (size < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

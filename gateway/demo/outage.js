// Cut the connection, let events pass, come back, and check what came.

import { publish } from "./gateway.js";

const AWAY_MS = 4000;
const EVERY_MS = 500;
const PATIENCE_MS = 15_000;

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

/**
 * Cuts `stream` for a few seconds. Meanwhile numbered events are published into `target` (none if
 * null), so that there is something to miss and every id is known from the publisher's side.
 *
 * `progress(text)` tells what is going on; aborting `signal` reconnects at once. The result:
 * `{cursor, published, found, replayed, repeated, resumed, gaps}`; `published` and `found` count this
 * page's own events. Null when there was no `fanlight.open` in time.
 */
export async function outage(stream, { target, token, progress, signal }) {
  const { cursor, channels } = stream;
  stream.cut("cut by you");
  const ids = [];
  const back = Date.now() + AWAY_MS;
  let number = 0;
  while (Date.now() < back && !signal.aborted) {
    if (target) {
      number += 1;
      const answer = await publish({ channel: target, data: `published while the line was cut, no. ${number}` }, token);
      ids.push(answer.id);
    }
    const left = Math.ceil((back - Date.now()) / 1000);
    progress(`Nothing reaches this page. ${ids.length ? `${ids.length} published meanwhile. ` : ""}Back in ${Math.max(0, left)} s.`);
    await pause(EVERY_MS, signal);
  }

  const seen = new Set();
  let gaps = 0;
  const onPublication = ({ detail }) => seen.add(detail.id);
  const onGap = () => { gaps += 1; };
  stream.addEventListener("publication", onPublication);
  stream.addEventListener("gap", onGap);
  progress("Coming back.");
  try {
    const opened = await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), PATIENCE_MS);
      stream.addEventListener("open", ({ detail }) => { clearTimeout(timer); resolve(detail); }, { once: true });
      stream.start(channels, { cursor });
    });
    if (!opened) return null;
    return {
      cursor, gaps, published: ids.length, found: ids.filter((id) => seen.has(id)).length,
      replayed: opened.replayed, repeated: opened.repeated, resumed: opened.resumed,
    };
  } finally {
    stream.removeEventListener("publication", onPublication);
    stream.removeEventListener("gap", onGap);
  }
}

// A row or an item for each thing of a snapshot. Whatever was written by others becomes text, and nothing else.

import { make } from "./frames.js";
import { CHANGES, STATES, duration, number, rate } from "./words.js";

const URGENT_SECONDS = 60;

const whole = ({ name, worker }) => (worker === null ? name : `${name}, worker ${worker}`);
const cell = (label, text, classes = "number") => make(`td.${classes.replaceAll(" ", ".")}`, { "data-label": label }, text);

/** The node's row, and one more below it where it is not well. */
export function nodeRows(node, at) {
  const name = make("td.name", { "data-label": "node" }, node.name);
  const small = [node.worker === null ? "" : `worker ${node.worker}`, node.version && `version ${node.version}`];
  name.append(make("small", {}, small.filter(Boolean).join(", ")));
  const state = cell("state", make("span.word", { "data-node": node.state, title: STATES[node.state] }, node.state), "is");
  if (!node.redis) {
    const heard = `last heard ${duration(node.heard_seconds)} ago`;
    return [make("tr", {}, name, state, make("td.wide", { colspan: 7, "data-label": "" }, heard))];
  }
  const { redis } = node;
  const link = redis.connected
    ? `up, generation ${redis.generation}`
    : redis.generation ? `lost for ${duration(redis.lost_seconds)}` : "not made yet";
  const streams = cell("streams", number(node.streams));
  streams.title = `of at most ${number(node.max_streams)}`;
  streams.append(share(node.streams / node.max_streams));
  const row = make("tr", {}, name, state,
    cell("up", duration(node.uptime_seconds)),
    streams,
    cell("in replay", number(node.replaying)),
    cell("deliveries/s", node.rates.delivered === null ? "–" : rate(node.rates.delivered)),
    cell("Redis link", link, redis.connected ? "wide" : "wide bad"),
    cell("probe", redis.probe_round_trip_seconds ? `${(1000 * redis.probe_round_trip_seconds).toFixed(1)} ms` : "–"),
    cell("behind", node.behind_seconds ? duration(node.behind_seconds) : "–"),
  );
  const why = [...node.why];
  const losses = at.changes.filter((change) => change.node === node.id && change.kind === "redis_lost");
  if (!redis.connected && redis.last_error) why.push(redis.last_error);
  else if (losses.length) {
    const ago = duration(Math.max(0, at.at_ms - losses[0].until_ms) / 1000);
    why.push(`Redis link lost ${ago} ago${losses[0].detail && `: ${losses[0].detail}`}`);
  }
  return why.length ? [row, make("tr.why", {}, make("td", { colspan: 9 }, why.join("; ")))] : [row];
}

/** `most`: the subscribers of the first one. */
export function channelRow({ name, subscribers, kept }, most) {
  const streams = cell("streams", number(subscribers));
  streams.append(share(subscribers / most));
  if (!kept) return make("tr", {}, make("td.name", {}, name), streams, make("td.wide", { colspan: 4, "data-label": "Redis" }, "did not tell"));
  const id = cell("last id", kept.last_id ?? "–", "id wide");
  if (kept.ended) id.append(" (closed)");
  return make("tr", {}, make("td.name", {}, name), streams,
    cell("events kept", number(kept.length)),
    cell("oldest", kept.oldest_seconds === null ? "–" : `${duration(kept.oldest_seconds)}`),
    cell("expires in", kept.expires_seconds === null ? "–" : duration(kept.expires_seconds)),
    id,
  );
}

export function laggardItem(laggard) {
  const left = laggard.left_seconds;
  const urgent = left !== null && left < URGENT_SECONDS;
  return make("li", { "data-urgent": urgent && "" },
    make("div.top", {},
      make("span.channel", {}, laggard.channel),
      make("span.left", {}, left === null ? "no loss near" : left < 1 ? "losing events now" : `loses in ${duration(left)}`)),
    make("p.small", {}, `${duration(laggard.behind_seconds)} behind`,
      laggard.channels > 1 ? `, on ${laggard.channels} channels` : "", `; at ${whole(laggard)}; request `,
      make("code", {}, laggard.request_id)),
  );
}

export function changeItem(change, now) {
  const [kind, words] = CHANGES[change.kind] ?? ["", change.kind];
  const item = make(kind ? `li.${kind}` : "li", {},
    make("time", { datetime: new Date(change.until_ms).toISOString() }, `${duration(Math.max(0, now - change.until_ms) / 1000)} ago`),
    make("span", {}, make("b", {}, change.count > 1 ? `${words} (${number(change.count)})` : words), ` ${whole(change)}`));
  if (change.detail) item.append(make("span.more", {}, change.detail));
  return item;
}

function share(part) {
  if (part < 0.02) return "";
  const bar = make("span.share", { "aria-hidden": "true" });
  bar.style.width = `${Math.min(100, 100 * part).toFixed(1)}%`;
  return bar;
}

// The gateway's addresses, and the requests that are not event streams.

// Relative to this file, so that the page also works behind a path prefix.
const base = new URL("../", import.meta.url);

/** The address of an event stream. Everything after the channels is optional. */
export function eventsUrl(channels, { cursor, last, envelope } = {}) {
  const url = new URL("events", base);
  for (const channel of channels) url.searchParams.append("channel", channel);
  if (envelope) url.searchParams.set("envelope", "json");
  // EventSource can't be given a Last-Event-ID header by hand; the query is for that.
  if (cursor) url.searchParams.set("last_event_id", cursor);
  else if (last) url.searchParams.set("last", last);
  // A name has one spelling, and all of it may stand unescaped in a query: keep it readable.
  url.search = url.search.replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%40", "@").replaceAll("%7E", "~");
  return url.href;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.:/@~-]{0,127}$/;

/** What is wrong with a channel's name, or null. The gateway checks again. */
export function channelProblem(name) {
  if (!NAME.test(name)) {
    return "Use 1 to 128 of A–Z a–z 0–9 _ - . : / @ ~, beginning with a letter or a digit.";
  }
  return name.startsWith("fanlight.") ? "Names that begin with “fanlight.” are reserved." : null;
}

/** What this page may do here: `{publish, publish_token?, dev}`. */
export async function loadConfig() {
  const response = await fetch(new URL("demo/config.json", base), { cache: "no-store" });
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

/** Publishes one item, or an array of them in one request. Throws an Error that says what is wrong. */
export async function publish(body, token) {
  const response = await fetch(new URL("publish", base), {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await problem(response));
  return response.json();
}

/** Asks for a streamed answer; returns the channel that its words come on. */
export async function ask(prompt) {
  const response = await fetch(new URL("demo/answer", base), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt }),
  });
  if (!response.ok) throw new Error(await problem(response));
  return (await response.json()).channel;
}

/**
 * Why an EventSource gave up. It never says, so the same address is asked once more: a wrong request
 * is answered with a problem document, a finished channel with 204.
 */
export async function whyClosed(url) {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { signal: stop.signal, headers: { Accept: "text/event-stream" } });
    if (response.status === 204) return { final: true, text: "204: all of these channels have ended" };
    if (response.status >= 400 && response.status < 500) return { final: true, text: await problem(response) };
    return { final: false, text: response.ok ? "the stream broke" : await problem(response) };
  } catch {
    return { final: false, text: "the gateway does not answer" };
  } finally {
    stop.abort();
  }
}

async function problem(response) {
  try {
    const { title, detail } = await response.json();
    return `${response.status} ${title}: ${detail}`;
  } catch {
    return `${response.status} ${response.statusText}`.trim();
  }
}

export const origin = base.href.replace(/\/$/, "");

// The demo page. Everything it shows comes over the native EventSource; see stream.js.

import { Answer } from "./answer.js";
import { Chips } from "./chips.js";
import { Figures } from "./figures.js";
import { make } from "./frames.js";
import { channelProblem, loadConfig } from "./gateway.js";
import { BAD_CURSORS, explain, listReasons } from "./gaps.js";
import { EventLog } from "./log.js";
import { outage } from "./outage.js";
import { Panes } from "./panes.js";
import { publishing } from "./publishing.js";
import { copyButton, publishSnippet, subscribeSnippet } from "./snippet.js";
import { Stream } from "./stream.js";
import { themeToggle } from "./toggle.js";
import { Timeline } from "./timeline.js";

const HISTORY = 5;
const HUES = 6;

const $ = (id) => document.getElementById(id);

const asked = new URLSearchParams(location.search).getAll("channel").filter((name) => !channelProblem(name));
const stream = new Stream();
const hues = new Map();
const hue = (channel) => {
  if (!hues.has(channel)) hues.set(channel, hues.size % HUES);
  return hues.get(channel);
};
const panes = new Panes($("panes"));
const figures = new Figures(document.querySelectorAll("[data-figure]"));
const timeline = new Timeline($("timeline"), $("peak"));
const log = new EventLog($("events"), hue);
let config = { publish: false, dev: false };

// --- what the page follows -------------------------------------------------------------------

const channels = new Chips(
  { list: $("channels"), form: $("add-channel"), error: $("channel-problem") },
  asked.length ? asked : ["clock", "demo", "news"],
  { check: channelProblem, changed, hue, noun: "channel" },
);
const types = new Chips(
  { list: $("types"), form: $("add-type"), error: $("type-problem") },
  ["message", "metadata"],
  { check: (name) => (name.startsWith("fanlight.") ? "These are reserved, and heard anyway." : null), changed: heard, fixed: ["message"], noun: "type" },
);
stream.hear(types.names);

function followed(names) {
  showChoice();
  if (names.length === 0) stream.cut("no channel to follow");
  // One id is a place in the order of all channels: it also serves for other channels than before.
  else stream.start(names, stream.cursor ? { cursor: stream.cursor } : { last: HISTORY });
}

// The address keeps the choice, so that it can be shared and survives a reload.
function changed(names) {
  const query = new URLSearchParams(names.map((name) => ["channel", name]));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  followed(names);
}

function heard(names) {
  stream.hear(names);
  showChoice();
}

function showChoice() {
  const names = channels.names;
  panes.glaze(names.map((name) => ({ name, hue: hue(name) })));
  $("known-channels").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  $("subscribe-code").textContent = subscribeSnippet(names, types.names);
  $("publish-code").textContent = publishSnippet(publishTarget() ?? "demo", config);
}

// Where this page publishes of its own accord: not into the clock.
function publishTarget() {
  const names = channels.names.filter((name) => name !== "clock");
  return names.includes("demo") ? "demo" : names[0] ?? null;
}

// --- what arrives ------------------------------------------------------------------------------

const form = publishing($("publish"), {
  follow: (channel) => channels.add(channel),
  follows: (channel) => channels.names.includes(channel),
  hear: (type) => !type.startsWith("fanlight.") && types.add(type),
});

stream.addEventListener("publication", ({ detail }) => {
  log.add(detail);
  figures.add(detail);
  timeline.add(detail);
  panes.flash(detail.channel, detail.replayed);
  form.seen(detail);
  $("empty").hidden = true;
  if (log.held) $("hold-count").textContent = log.waiting ? ` (${log.waiting})` : "";
});

stream.addEventListener("open", ({ detail }) => {
  figures.opened(detail);
  const replay = `${detail.replayed} replayed${detail.replayed ? detail.repeated ? `, ${detail.repeated} OUT OF ORDER` : ", in order" : ""}`;
  log.note(detail.resumed ? "resumed" : "open", detail.resumed ? "resumed" : "open", `${replay}; live from here`);
});

stream.addEventListener("gap", ({ detail }) => {
  figures.gap(detail);
  log.note("gap", "gap", `${detail.reason}, ${detail.channel ?? "all channels"}: explained under “Lose the place”`);
  $("gap-result").replaceChildren(explain(detail));
  $("gap-status").textContent = `Gap: ${detail.reason}.`;
});

stream.addEventListener("end", ({ detail }) => {
  figures.at(detail.id);
  channels.end(detail.channel);
  log.note("end", "end", `the channel ${detail.channel} is closed`);
});

const WORDS = { connecting: "Connecting", connected: "Connected", resumed: "Resumed", disconnected: "Disconnected" };

stream.addEventListener("state", ({ detail: { state, text } }) => {
  const was = document.documentElement.dataset.state;
  document.documentElement.dataset.state = state;
  $("state-word").textContent = WORDS[state];
  $("state-text").textContent = text;
  timeline.connected(state === "connected" || state === "resumed");
  $("reconnect").hidden = state !== "disconnected" || outageRuns() || !channels.names.length;
  if (state === "disconnected" && was !== state) log.note("disconnected", "disconnected", text);
  if (state === "connecting" && (was === "connected" || was === "resumed")) log.note("disconnected", "connecting", text);
});

$("reconnect").addEventListener("click", () => followed(channels.names));

$("hold").addEventListener("click", () => {
  log.hold(!log.held);
  $("hold").setAttribute("aria-pressed", String(log.held));
  $("hold-word").textContent = log.held ? "Go on" : "Hold";
  $("hold-count").textContent = "";
});
$("clear").addEventListener("click", () => log.clear());

// --- breaking it ---------------------------------------------------------------------------------

let away = null;
function outageRuns() {
  return away !== null;
}

$("cut").addEventListener("click", async () => {
  if (away) {
    away.abort();
    return;
  }
  if (!channels.names.length) {
    tellCut("failed", "Follow a channel first.");
    return;
  }
  away = new AbortController();
  // Until it is back, nothing else may touch the connection.
  for (const element of document.querySelectorAll("[data-rests]")) element.inert = true;
  $("cut").textContent = "Reconnect now";
  const target = config.publish && form.token() ? publishTarget() : null;
  try {
    const result = await outage(stream, {
      target, token: form.token(), signal: away.signal, progress: (text) => tellCut("away", text),
    });
    tellOutage(result);
  } catch (error) {
    tellCut("failed", error.message);
    followed(channels.names);
  } finally {
    away = null;
    for (const element of document.querySelectorAll("[data-rests]")) element.inert = false;
    $("cut").textContent = "Cut the connection";
    $("reconnect").hidden = stream.state !== "disconnected";
  }
});

function tellCut(kind, text) {
  $("cut-result").dataset.kind = kind;
  $("cut-result").textContent = text;
  $("cut-facts").hidden = true;
}

function tellOutage(result) {
  if (!result) {
    tellCut("failed", "The gateway did not answer within 15 s. The browser keeps trying.");
    return;
  }
  const { published, found, replayed, repeated, gaps, resumed, cursor } = result;
  const whole = resumed && !gaps && !repeated && found === published;
  if (whole) {
    tellCut("good", replayed
      ? `${replayed} event${replayed === 1 ? "" : "s"} missed, and all of them replayed, in order.`
      : "Nothing was published meanwhile, and nothing is missing.");
  } else {
    tellCut("failed", gaps ? "Not everything could be replayed: the gateway told a gap." : "Something is wrong: see the figures.");
  }
  const facts = [
    ["resumed after", cursor],
    ["replayed", replayed],
    ["out of order", repeated],
    ...(published ? [["published here", published], ["of these, here now", found]] : []),
  ];
  $("cut-facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
  $("cut-facts").hidden = false;
  Object.assign($("cut-result").dataset, { published, found, replayed });
}

for (const button of document.querySelectorAll("[data-bad-cursor]")) {
  button.addEventListener("click", () => {
    const cursor = BAD_CURSORS[button.dataset.badCursor](stream.cursor);
    if (!cursor || !channels.names.length) return;
    $("gap-sent").textContent = cursor;
    $("gap-sent").parentElement.hidden = false;
    $("gap-result").replaceChildren();
    stream.cut("to come back with a bad last event id");
    stream.start(channels.names, { cursor });
  });
}
listReasons($("reasons"));

// --- the rest ------------------------------------------------------------------------------------

new Answer({
  form: $("ask"), text: $("answer"), notes: $("answer-notes"), status: $("answer-status"), cut: $("answer-cut"),
  received: $("words-received"), announced: $("words-announced"), replayed: $("words-replayed"),
  cuts: $("answer-cuts"), channel: $("answer-channel"), meter: $("words-meter"),
});
copyButton($("copy-subscribe"), () => $("subscribe-code").textContent, $("subscribe-code"));
copyButton($("copy-publish"), () => $("publish-code").textContent, $("publish-code"));
themeToggle($("theme"));

showChoice();
followed(channels.names);
try {
  config = await loadConfig();
} catch (error) {
  $("config-problem").textContent = `demo/config.json: ${error.message}`;
}
form.allow(config);
$("ask").querySelectorAll("button, input").forEach((element) => { element.disabled = !config.dev; });
$("no-answer").hidden = config.dev;
showChoice();

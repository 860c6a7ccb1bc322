// The inspector: asks for a snapshot again and again, and shows it. See docs/operations.md.

import { make } from "./frames.js";
import { Panes } from "./panes.js";
import { themeToggle } from "./toggle.js";
import { duration, number, rate } from "./words.js";
import { channelRow, changeItem, laggardItem, nodeRows } from "./views.js";

const INTERVAL_MS = 2000;
const $ = (id) => document.getElementById(id);
const base = new URL("./", import.meta.url);
const form = $("search");
const figures = Object.fromEntries([...document.querySelectorAll("[data-figure]")].map((at) => [at.dataset.figure, at]));
const panes = new Panes($("panes"));

let before = new Map();
let glazed = "";
let held = false;
let timer = 0;
let asking = null;

// --- what is asked for: kept in the address, so that it can be shared and survives a reload ---------

const given = new URLSearchParams(location.search);
form.elements.name.value = given.get("channel") ?? given.get("prefix") ?? "";
form.elements.exact.checked = given.has("channel");
if ([...form.elements.limit.options].some(({ value }) => value === given.get("limit"))) {
  form.elements.limit.value = given.get("limit");
}

function query() {
  const { name, exact, limit } = form.elements;
  const asked = new URLSearchParams();
  if (name.value.trim()) asked.set(exact.checked ? "channel" : "prefix", name.value.trim());
  if (limit.value !== "20") asked.set("limit", limit.value);
  return asked;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = query();
  history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
  ask();
});
form.addEventListener("change", () => form.requestSubmit());

// --- asking ------------------------------------------------------------------------------------------

async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = asking = new AbortController();
  try {
    const url = new URL("snapshot", base);
    url.search = query();
    const response = await fetch(url, { cache: "no-store", signal: mine.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail ?? `${response.status} ${response.statusText}`);
    $("problem").textContent = "";
    show(answer);
  } catch (error) {
    if (mine.signal.aborted) return;
    const away = error instanceof TypeError;
    if (away) state("disconnected", "No answer", "of this node’s admin port; asking again");
    $("problem").textContent = away ? "" : error.message;
  }
  if (!held && !document.hidden) timer = setTimeout(ask, INTERVAL_MS);
}

$("hold").addEventListener("click", () => {
  held = !held;
  $("hold").setAttribute("aria-pressed", String(held));
  $("hold").textContent = held ? "Go on" : "Hold";
  if (!held) ask();
  else clearTimeout(timer);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !held) ask();
});

// --- showing -----------------------------------------------------------------------------------------

function state(kind, word, text) {
  document.documentElement.dataset.state = kind;
  if ($("state-word").textContent !== word) $("state-word").textContent = word;
  $("state-text").textContent = text;
}

function show(at) {
  const nodes = at.nodes.map((node) => ({ ...node, rates: rates(node, at.at_ms) }));
  before = new Map(nodes.filter((node) => node.redis).map((node) => [node.id, { ...node, at_ms: at.at_ms }]));
  const whole = at.asked_others && !at.silent;
  const asked = nodes.find(({ id }) => id === at.asked_by);
  state(
    whole ? "connected" : "partial",
    at.asked_others ? `${at.answered} of ${at.listening} ${at.listening === 1 ? "node" : "nodes"} answered` : "This node alone",
    at.asked_others ? `asked by ${asked?.name ?? "a node"}` : "it has no connection to Redis, and can’t ask the others",
  );
  window(nodes);
  fill(nodes);
  $("nodes-told").textContent = at.silent_unknown
    ? `${at.silent_unknown} more heard the question, never answered, and ${at.silent_unknown === 1 ? "is" : "are"} not known by name.`
    : "";
  $("node-rows").replaceChildren(...nodes.flatMap((node) => nodeRows(node, at)));
  const most = Math.max(1, ...at.channels.map(({ subscribers }) => subscribers));
  $("channel-rows").replaceChildren(...at.channels.map((channel) => channelRow(channel, most)));
  $("channels-told").textContent = told(at);
  $("channels-empty").hidden = at.channels.length > 0;
  $("channels-empty").textContent = form.elements.name.value ? "No channel that is followed begins so." : "Nobody follows a channel.";
  $("laggards").replaceChildren(...at.laggards.map(laggardItem));
  $("laggards-none").hidden = at.laggards.length > 0;
  $("changes").replaceChildren(...at.changes.map((change) => changeItem(change, at.at_ms)));
  $("changes-none").hidden = at.changes.length > 0;
}

// Two snapshots tell what happened between them. A process that was started anew has another id.
function rates(node, now) {
  const was = before.get(node.id);
  const seconds = was ? (now - was.at_ms) / 1000 : 0;
  if (!node.redis || seconds <= 0) return { delivered: null, ingested: null };
  return {
    delivered: Math.max(0, node.delivered - was.delivered) / seconds,
    ingested: Math.max(0, node.ingested - was.ingested) / seconds,
  };
}

function window(nodes) {
  const names = nodes.map(({ id }) => id).join();
  if (names !== glazed) {
    panes.glaze(nodes.map(({ name, worker }) => ({ name: worker === null ? name : `${name}, worker ${worker}`, hue: "" })));
    glazed = names;
  }
  [...$("panes").children].forEach((share, index) => {
    share.dataset.node = nodes[index]?.state ?? "gone";
    share.toggleAttribute("data-busy", (nodes[index]?.rates.ingested ?? 0) > 0);
  });
}

function fill(nodes) {
  const there = nodes.filter((node) => node.redis);
  const sum = (of) => there.reduce((total, node) => total + (of(node) ?? 0), 0);
  const known = there.some(({ rates: { delivered } }) => delivered !== null);
  const left = there.map((node) => node.left_seconds).filter((seconds) => seconds !== null);
  const values = {
    ready: `${there.filter(({ ready }) => ready).length} of ${nodes.length}`,
    streams: number(sum(({ streams }) => streams)),
    replaying: number(sum(({ replaying }) => replaying)),
    delivered: known ? rate(sum(({ rates: { delivered } }) => delivered)) : "–",
    ingested: known ? rate(sum(({ rates: { ingested } }) => ingested)) : "–",
    left: left.length ? Math.min(...left) < 1 ? "now" : duration(Math.min(...left)) : "–",
    probe: `${(1000 * Math.max(0, ...there.map(({ redis }) => redis.probe_round_trip_seconds))).toFixed(1)} ms`,
  };
  for (const [name, field] of Object.entries(figures)) {
    if (field.textContent !== values[name]) field.textContent = values[name];
  }
  figures.left.classList.toggle("wrong", left.length > 0 && Math.min(...left) < 60);
  figures.ready.classList.toggle("wrong", there.some(({ ready }) => !ready) || nodes.some(({ state: of }) => of === "silent"));
}

function told(at) {
  if (!at.channels.length) return "";
  const all = `${at.channels_all_known ? "" : "at least "}${number(at.channels_matching)}`;
  if (at.channels.length >= at.channels_matching) return `${all}, streams of all nodes`;
  return `${at.channels.length} of ${all}, those with the most streams${at.channels_first ? "" : ", as far as is known"}`;
}

themeToggle($("theme"));
ask();

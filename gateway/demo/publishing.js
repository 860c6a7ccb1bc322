// The publish form.

import { channelProblem, publish } from "./gateway.js";
import { duration } from "./ids.js";

const BURST = 200;

/**
 * Wires `form`. `follow(channel)` subscribes to a channel, `follows(channel)` says whether the page
 * does, `hear(type)` listens to a type. Returns `{seen, allow}`: `seen(publication)` is to be called
 * with what arrives, `allow(config)` once it is known what the page may do.
 */
export function publishing(form, { follow, follows, hear }) {
  const { channel, type, data, token } = form.elements;
  const result = form.querySelector("output");
  const refusal = form.querySelector("[data-refusal]");
  let waiting = null;
  let known = null;

  const say = (text, kind = "") => {
    result.dataset.kind = kind;
    result.textContent = text;
  };

  async function send(body, what) {
    const name = channel.value.trim();
    const problem = channelProblem(name);
    channel.setAttribute("aria-invalid", String(Boolean(problem)));
    if (problem) {
      say(problem, "error");
      channel.focus();
      return;
    }
    if (type.value) hear(type.value);
    const sent = Date.now();
    try {
      const answer = await publish(body(name), known?.publish_token ?? token.value);
      what(answer, Date.now() - sent);
      if (!follows(name)) offer(name);
    } catch (error) {
      say(error.message, "error");
    }
  }

  function offer(name) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link" });
    button.textContent = `Follow ${name}`;
    button.addEventListener("click", () => {
      follow(name);
      button.remove();
    });
    result.append(" This page doesn’t follow that channel. ", button);
  }

  const item = (name, text) => ({ channel: name, data: text, ...(type.value && { type: type.value }) });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const started = Date.now();
    waiting = null;
    send((name) => item(name, data.value), (answer, took) => {
      // The event may have come back over the stream before the answer to the request.
      waiting = { id: answer.id, started };
      say(`Published in ${duration(took)} as ${answer.id}.`);
      if (recent.has(answer.id)) seen(recent.get(answer.id));
    });
  });

  form.elements.burst.addEventListener("click", () => {
    waiting = null;
    send(
      (name) => Array.from({ length: BURST }, (_, i) => item(name, `${i + 1} of ${BURST}: ${data.value}`)),
      ({ published, failed }, took) =>
        say(`${published} published in one request, in ${duration(took)}${failed ? `; ${failed} refused` : ""}.`),
    );
  });

  data.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  const recent = new Map();
  function seen(publication) {
    recent.set(publication.id, publication);
    if (recent.size > 50) recent.delete(recent.keys().next().value);
    if (waiting?.id !== publication.id) return;
    say(`Published as ${publication.id}, and back in this page after ${duration(publication.receivedMs - waiting.started)}.`, "good");
    waiting = null;
  }

  function allow(config) {
    known = config;
    const mayTry = config.publish;
    for (const element of form.elements) element.disabled = !mayTry;
    refusal.hidden = mayTry;
    token.closest("label").hidden = !mayTry || Boolean(config.publish_token);
  }

  return { seen, allow, token: () => known?.publish_token ?? token.value };
}

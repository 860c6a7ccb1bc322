// The few lines to take home, for the channels and types chosen above.

import { eventsUrl, origin } from "./gateway.js";

const quote = (text) => JSON.stringify(text);

/** JavaScript that follows `channels` and hears `types`. */
export function subscribeSnippet(channels, types) {
  const named = types.filter((type) => type !== "message");
  return [
    "const events = new EventSource(",
    `  ${quote(eventsUrl(channels.length ? channels : ["clock"]))});`,
    "",
    "const show = (event) => console.log(event.lastEventId, event.type, event.data);",
    "events.onmessage = show;",
    ...(named.length ? ["// A named type is heard only if you ask for it."] : []),
    ...named.map((type) => `events.addEventListener(${quote(type)}, show);`),
    "",
    "// The browser reconnects by itself, and sends the last id: what was missed is replayed.",
    "// What can't be had any more is told: fetch your state anew, then read on.",
    'events.addEventListener("fanlight.gap", (event) => {',
    "  console.warn(JSON.parse(event.data));",
    "});",
  ].join("\n");
}

/** Shell commands that publish into `channel`. */
export function publishSnippet(channel, { publish, publish_token: token }) {
  const lines = ["# from any terminal, straight into Redis", `fanlight publish ${channel} "Good evening"`];
  if (publish) {
    lines.push("", "# over HTTP", `curl ${origin}/publish \\`,
      `  -H "Authorization: Bearer ${token ?? "$FANLIGHT_PUBLISH_TOKEN"}" \\`,
      '  -H "Content-Type: application/json" \\',
      `  -d '${JSON.stringify({ channel, data: "Good evening" })}'`);
  }
  lines.push("", "# and watch a channel without a browser", `fanlight tail ${channel}${origin === "http://127.0.0.1:8080" ? "" : ` --url ${origin}`}`);
  return lines.join("\n");
}

/** Makes a button copy what `text()` returns, and say so. */
export function copyButton(button, text, fallback) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      // No clipboard without HTTPS or loopback: select the text, so that a key press copies it.
      getSelection().selectAllChildren(fallback);
      done = false;
    }
    button.textContent = done ? "Copied" : "Selected: press Ctrl C";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

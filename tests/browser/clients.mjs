// `node clients.mjs NAME URL TYPES`: a client from npm, in a process of its own.
// Prints one JSON line, [type, data, id], for each event that the client reports, and ends with a 204.

const [name, url, types] = process.argv.slice(2);
const report = (type, data, id) => process.stdout.write(JSON.stringify([type, data, id]) + "\n");

const clients = {
  async "eventsource"() {
    const { EventSource } = await import("eventsource");
    const source = new EventSource(url);
    // The stream's own events of type `error` and `open` are MessageEvents; the client's are not.
    const take = (event) => {
      if (event instanceof MessageEvent) report(event.type, event.data, event.lastEventId);
    };
    for (const type of new Set(["message", ...JSON.parse(types)])) source.addEventListener(type, take);
    await new Promise((resolve) => {
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) resolve();
      });
    });
  },

  async "fetch-event-source"() {
    // It is made for browsers: these are all the globals that it touches.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    class Finished extends Error {}
    await fetchEventSource(url, {
      onopen(response) {
        if (response.status === 204) throw new Finished();
        if (!response.ok) throw new Error(`status ${response.status}`);
      },
      onmessage(message) {
        report(message.event || "message", message.data, message.id);
      },
      // As its documentation says: what is thrown here makes it reconnect ...
      onclose() {
        throw new Error("the stream has ended");
      },
      // ... unless it is thrown on from here.
      onerror(error) {
        if (error instanceof Finished) throw error;
      },
    }).catch((error) => {
      if (!(error instanceof Finished)) throw error;
    });
  },
};

await clients[name]();

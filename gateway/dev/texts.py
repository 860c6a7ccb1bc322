"""The canned answers. Which one is told depends on the prompt's words, and on nothing else."""

from __future__ import annotations

import re
from typing import Final

_WORD = re.compile(r"\S+\s*")

RESUME: Final = """\
Every event has an id, and the browser remembers the last one that it got. When the connection \
breaks, EventSource comes back by itself and sends that id as Last-Event-ID. The gateway reads what \
the channel has after it from Redis, writes that first, and then goes on live, so nothing is missing \
and nothing comes twice.

It does not matter which gateway the browser meets: all of them read the same streams, and one id is \
a position in all channels at once. Cut this connection now, if you like. The words that are written \
while you are away are waiting for you, and the answer goes on exactly where it was."""

GAP: Final = """\
A channel keeps its newest events for a while, an hour by default. Whoever stays away for longer has \
missed events that nobody can bring back, and Fanlight says so instead of hiding it: the browser \
gets an event of type fanlight.gap that names the channel, the reason, and the two ids between which \
something is missing. A page that hears it loads its state anew and goes on.

The same event tells of a Redis that was replaced and may have lost its last writes, of a channel \
that was trimmed, and of an id that is not known. Between a false gap and a missed one, Fanlight \
chooses the false one: silence is never an answer."""

SPEED: Final = """\
Work is done once for each event and node, never once for each browser. An event is read from Redis, \
encoded into the bytes of the stream, and these same bytes are handed to every connection that \
follows the channel: one write for each, at the end of a turn of the loop, with all that has arrived \
until then.

So the cost of an event falls as the rate rises, because more of them travel in one write. A slow \
reader costs its own bounded buffer and nobody else's time: above the mark its events are dropped \
from memory, and it reads them again from Redis, from its own place, once it has caught its breath."""

PUBLISH: Final = """\
Publishing is one call: the library checks the event, and a script in Redis gives it an id, appends \
it to the channel's stream and announces it, all in one atomic step. It has an idempotency key, so a \
retry after a lost answer never appends it twice.

From Python, write Publisher().publish("news", "Hello"). From a shell, fanlight publish news Hello. \
From anything else, POST a line of JSON to /publish with the token. And when a channel is finished, \
like the one of this answer in a moment, close it: its readers get the last event, then \
fanlight.end, and their browsers stop asking."""

ABOUT: Final = """\
Fanlight carries events from your services to browsers. Services publish into Redis; gateways hold \
the browsers' connections and fan the events out, and any gateway can serve any browser at any time. \
On the other end is EventSource, which every browser has: no client library, no protocol of our own.

It makes three promises. Nothing is lost silently: a reader who comes back in time sees every event \
once and in order, and what can't be recovered is said aloud. A slow or hostile client costs its own \
bounded share. And it is fast, since Python decides and C moves the bytes. This answer, by the way, \
came out of a file, a word at a time; only the road that it took to you is real."""

_TOPICS: Final = (
    (r"gap|miss|lost|lose|expire|retention|trim", GAP),
    (r"resum|reconnect|cut|break|broke|last-event|offline|crash|kill|restart", RESUME),
    (r"fast|speed|slow|scale|many|perform|latency|memory|thousand", SPEED),
    (r"publish|send|python|curl|token|idempoten|close|end\b", PUBLISH),
)
TEXTS: Final = (ABOUT, RESUME, GAP, SPEED, PUBLISH)


def choose(prompt: str) -> str:
    """The answer to a prompt."""
    asked = prompt.casefold()
    return next((text for words, text in _TOPICS if re.search(words, asked)), ABOUT)


def split_words(text: str) -> list[str]:
    """The words, each with the space after it: joined, they are the text again."""
    return _WORD.findall(text)

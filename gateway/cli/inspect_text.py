"""What `fanlight inspect` draws of a snapshot: tables of text that fit the terminal's width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.cli.screen import printable

_DIM, _BOLD, _GREEN, _YELLOW, _RED = "2", "1", "32", "33", "31"
_COLOURS: Final = {"ready": _GREEN, "draining": _YELLOW, "unready": _RED, "silent": _RED, "missing": _RED}
_BAD: Final = frozenset({"redis_lost", "epoch_changed", "unready", "gaps", "revocations_missed"})
_LEAST: Final = 40
_SHOWN_CHANGES: Final = 12
_SHOWN_LAGGARDS: Final = 10


def lines(snapshot: Mapping[str, Any], width: int, *, colours: bool = False) -> list[str]:
    """The whole picture, none of whose lines is wider."""
    return list(_Drawing(max(width, _LEAST), colours).draw(snapshot))


class _Drawing:
    def __init__(self, width: int, colours: bool) -> None:
        self._width = width
        self._colours = colours

    def draw(self, at: Mapping[str, Any]) -> Iterator[str]:
        now_ms = at["at_ms"]
        when = datetime.fromtimestamp(now_ms / 1000).strftime("%H:%M:%S")
        yield self._paint(self._cut(f"{when}  {answered(at)}"), _BOLD)
        yield ""
        yield from self._table(
            ("node", "state", "version", "up", "streams", "replay", "redis", "probe", "behind"),
            [_node_row(node) for node in at["nodes"]],
            right=("up", "streams", "replay", "probe", "behind"),
            colour=[_COLOURS.get(node["state"], _DIM) for node in at["nodes"]],
        )
        for node in at["nodes"]:
            for reason in (*node.get("why", ()), *_link_trouble(node)):
                yield self._paint(self._cut(f"  {name_of(node)}: {printable(reason)}"), _YELLOW)
        yield ""
        yield self._paint(self._cut(channels_told(at)), _BOLD)
        if at["channels"]:
            yield from self._table(
                ("channel", "streams", "kept", "oldest", "expires", "last id"),
                [_channel_row(row) for row in at["channels"]],
                right=("streams", "kept", "oldest", "expires"),
            )
        yield ""
        yield self._paint(f"laggards: {len(at['laggards']) or 'none'}", _BOLD)
        if at["laggards"]:
            shown = at["laggards"][:_SHOWN_LAGGARDS]
            yield from self._table(
                ("behind", "loses in", "channel", "node", "request id"),
                [_laggard_row(row) for row in shown],
                right=("behind", "loses in"),
                colour=[_RED if _is_urgent(row) else _YELLOW for row in shown],
            )
        yield ""
        yield self._paint("last changes", _BOLD)
        for change in at["changes"][:_SHOWN_CHANGES]:
            colour = _RED if change["kind"] in _BAD else _DIM
            yield self._paint(self._cut(_change_text(change, now_ms)), colour)

    def _table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[str],
        colour: Sequence[str] = (),
    ) -> Iterator[str]:
        """Columns as wide as what is in them. What does not fit the terminal is cut off at its right."""
        cells = [head, *rows]
        widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
        to_the_right = [name in right for name in head]
        for number, row in enumerate(cells):
            padded = (
                cell.rjust(width) if is_right else cell.ljust(width)
                for cell, width, is_right in zip(row, widths, to_the_right, strict=True)
            )
            text = self._cut("  ".join(padded).rstrip())
            if number == 0:
                yield self._paint(text, _DIM)
            else:
                yield self._paint(text, colour[number - 1]) if colour else text

    def _cut(self, text: str) -> str:
        return text if len(text) <= self._width else f"{text[: self._width - 1]}…"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and text else text


def answered(at: Mapping[str, Any]) -> str:
    """How many nodes this is of."""
    if not at["asked_others"]:
        return "this node alone: it has no connection to Redis, and can't ask the others"
    nodes = "node has" if at["listening"] == 1 else "nodes have"
    text = f"{at['answered']} of {at['listening']} {nodes} answered"
    if at["silent_unknown"]:
        text += f"; {at['silent_unknown']} that was never heard of is silent"
    return text


def channels_told(at: Mapping[str, Any]) -> str:
    more = "" if at["channels_all_known"] else "at least "
    text = f"channels: {more}{at['channels_matching']:,}"
    if len(at["channels"]) < at["channels_matching"]:
        text += f", the {len(at['channels'])} with the most streams"
        if not at["channels_first"]:
            text += ", as far as is known"
    return text


def name_of(node: Mapping[str, Any]) -> str:
    worker = "" if node["worker"] is None else f" worker {node['worker']}"
    return f"{printable(node['name'])}{worker}"


def _node_row(node: Mapping[str, Any]) -> list[str]:
    if "redis" not in node:
        heard = f"heard {duration(node['heard_seconds'])} ago"
        return [name_of(node), node["state"], printable(node["version"]), heard, "", "", "", "", ""]
    redis = node["redis"]
    link = "up" if redis["connected"] else f"lost {duration(redis['lost_seconds'])}"
    probe = redis["probe_round_trip_seconds"]
    return [
        name_of(node),
        node["state"],
        printable(node["version"]),
        duration(node["uptime_seconds"]),
        f"{node['streams']:,}",
        f"{node['replaying']:,}",
        f"{link}, gen {redis['generation']}",
        f"{1000 * probe:.1f} ms" if probe else "-",
        duration(node["behind_seconds"]) if node["behind_seconds"] else "-",
    ]


def _link_trouble(node: Mapping[str, Any]) -> list[str]:
    redis = node.get("redis")
    return [redis["last_error"]] if redis and redis["last_error"] and not redis["connected"] else []


def _channel_row(row: Mapping[str, Any]) -> list[str]:
    kept = row["kept"]
    if kept is None:
        return [printable(row["name"]), f"{row['subscribers']:,}", "?", "?", "?", "?"]
    last = printable(kept["last_id"] or "-")
    return [
        printable(row["name"]),
        f"{row['subscribers']:,}",
        f"{kept['length']:,}",
        "-" if kept["oldest_seconds"] is None else duration(kept["oldest_seconds"]),
        "-" if kept["expires_seconds"] is None else f"in {duration(kept['expires_seconds'])}",
        f"{last} (closed)" if kept["ended"] else last,
    ]


def _laggard_row(row: Mapping[str, Any]) -> list[str]:
    left_seconds = row["left_seconds"]
    left = "-" if left_seconds is None else "now" if left_seconds < 1 else duration(left_seconds)
    return [
        duration(row["behind_seconds"]),
        left,
        printable(row["channel"]),
        name_of(row),
        printable(row["request_id"]),
    ]


def _is_urgent(row: Mapping[str, Any]) -> bool:
    return row["left_seconds"] is not None and row["left_seconds"] < 60


def _change_text(change: Mapping[str, Any], now_ms: int) -> str:
    ago = duration(max(0, now_ms - change["until_ms"]) / 1000)
    count = f" x{change['count']:,}" if change["count"] > 1 else ""
    detail = f": {printable(change['detail'])}" if change["detail"] else ""
    return f"{ago:>7} ago  {name_of(change)}  {printable(change['kind'])}{count}{detail}"


def duration(seconds: float) -> str:
    """In the two largest units: 0.4 s, 12 s, 3 m 20 s, 5 h 2 m, 4 d 7 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {small}"
    return f"{whole} s"

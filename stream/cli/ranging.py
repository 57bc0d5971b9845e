"""What commands that judge a range of a topic, or files in its place, have in common: their options, and what these come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from models.errors import ConfigError, InputError
from stream.cli.terminal import progress

if TYPE_CHECKING:
    from stream.settings import Settings
    from stream.shell.ranges import Span, Topic

HOUR_MS = 3_600_000
Heard = Callable[[int], None]
"""Hears of each step, how many offsets it went on by."""

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE", help="In place of the bus: events, recorded sessions or a dump; - is stdin."
    ),
]
Begin = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="From this day or time on (UTC), or these offsets, as 0:1200,1:900 (default: all that the topic holds).",
    ),
]
End = Annotated[
    str | None, typer.Option("--to", help="Before this time, or these offsets (default: where it ends now).")
]
Partitions = Annotated[list[int] | None, typer.Option(min=0, help="Only this partition (repeatable).")]
OfSeveral = Annotated[str | None, typer.Option(help="Base name of the input topic, where there are several.")]
ReadBack = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Hours before --from from which on sessions are read that go on in the range (default: tombstone_hours of the policy, "
        "the longest of several).",
    ),
]


class Asked(NamedTuple):
    """Options that are of the bus alone, each None where it was not given."""

    begin: str | None
    end: str | None
    partitions: list[int] | None
    topic: str | None
    read_back: float | None

    def check(self, files: list[Path] | None, tools: Path | None) -> None:
        """Refuse options of the bus beside files, and those of files without any."""
        if files and any(option is not None for option in self):
            raise ConfigError(
                "--from, --to, --partition, --topic and --read-back are of the bus, and files are read whole; leave these options away"
            )
        if tools is not None and not files:
            raise ConfigError("--tools is of files of recorded sessions; leave it away, or name a file")

    def spans(self, topic: Topic, tombstone_hours: float) -> list[Span]:
        """What they come to: by partition what is read, and from where on it counts."""
        from stream.shell import ranges

        begin, end = (
            ranges.bound(text, option) if text is not None else None
            for text, option in ((self.begin, "--from"), (self.end, "--to"))
        )
        hours = tombstone_hours if self.read_back is None else self.read_back
        return topic.spans(begin, end, self.partitions, round(hours * HOUR_MS))


def input_topic(configured: Settings, asked: str | None) -> str:
    """The base name of the topic that is read."""
    known = list(configured.input_topics)
    if asked is None and len(known) > 1:
        raise ConfigError(f"there are several input topics; name one with --topic: {', '.join(known)}")
    return configured.base(asked) if asked is not None else known[0]


def source(topic: str, span: Span) -> dict[str, Any]:
    """A range as reports tell it."""
    return {
        "topic": topic,
        "partition": span.partition,
        "read_from": span.start,
        "from": span.begin,
        "to": span.end,
    }


def listed(refused: Mapping[str, int]) -> str:
    """Records that were left out, by reason."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))


def nothing_judged(files: list[Path], refused: Mapping[str, int]) -> InputError:
    """What is said of files of which everything was refused."""
    return InputError(
        f"nothing in {' or '.join(map(str, files))} could be judged: {listed(refused)}; `driftline replay --all` shows which"
    )


@contextmanager
def meter(spans: list[Span], what: str = "judging") -> Iterator[Heard]:
    """A bar over the offsets of spans; yields what hears of each step on."""
    so_far = 0
    with progress(what, sum(span.end - span.start for span in spans) or None) as done:

        def heard(count: int) -> None:
            nonlocal so_far
            so_far += count
            done(so_far)

        yield heard

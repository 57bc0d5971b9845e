"""``driftline audit`` and ``driftline show``: a session's story, for an auditor and for an analyst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import BrokerError, ConfigError, InputError
from stream.cli.options import AsJson, Bootstrap, Prefix, settings
from stream.cli.terminal import progress, say

if TYPE_CHECKING:
    from rich.console import Console

    from stream.offline.trail import Trail
    from stream.offline.trail_entries import Entry

FORMS = ("text", "json", "html")
Tenant = Annotated[str | None, typer.Option(help="Its tenant, where several have a session of this id.")]
Root = Annotated[
    str | None,
    typer.Option(help="Its root session: tells sessions of one id apart, and spares most of the reading."),
]
File = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        help="Read this instead of the bus: dumps, `replay --all` output, events, in any mixture (repeatable).",
    ),
]


def audit(
    session: Annotated[
        str, typer.Argument(help="The session's id, or how it alone begins; or its case's id.")
    ],
    file: File = None,
    tenant: Tenant = None,
    root: Root = None,
    form: Annotated[
        str, typer.Option("--format", help="text, json or html (one file, no scripts).")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    values: Annotated[
        bool, typer.Option("--values", help="Show values of arguments and results; secrets stay hidden.")
    ] = False,
    jwks: Annotated[
        Path | None, typer.Option(help="Public keys of the issuer: signatures of tokens are verified.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer expected (default: the settings').")] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """How access was used in a session: every record on the bus that tells of it, in order, each with its place.

    What is not there is told too: a missing verdict is not an allow. Values are masked unless --values asks for them.
    """
    form = "json" if as_json else form
    if form not in FORMS:
        raise ConfigError(f"--format is {form!r}; expected one of {', '.join(FORMS)}")
    trail = _built(
        session, file, tenant, root, bootstrap, prefix, values=values, signed=_signatures(jwks, issuer)
    )
    if form == "json":
        from stream.events import dumps

        typer.echo(dumps(trail.document()).decode())
    elif form == "html":
        from stream.offline.trail_page import page

        for part in page(trail):
            typer.echo(part, nl=False)
    else:
        from stream.offline.trail_gaps import where
        from stream.shell.screen import screen

        console = screen()
        _facts(console, trail)
        for entry in trail.entries:
            _line(console, entry, entry.text, f"  [{where(entry)}]" if entry.place is not None else "")


def show(
    session: Annotated[
        str,
        typer.Argument(
            metavar="SESSION|CASE", help="A session's id, or how it alone begins; or a case's id."
        ),
    ],
    file: File = None,
    tenant: Tenant = None,
    root: Root = None,
    everything: Annotated[bool, typer.Option("--all", help="All steps, not only what matters.")] = False,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """A session's story for an analyst: what was asked, what it did instead, what became of its credential, what to do."""
    from rich.text import Text

    from stream.offline import trail_story as story
    from stream.shell.screen import screen

    trail = _built(session, file, tenant, root, bootstrap, prefix)
    told = {
        "asked": story.asked_for(trail),
        "did instead": story.did_instead(trail),
        "credential": story.fate(trail),
        "what to do": story.steps(trail),
    }
    entries = trail.entries if everything else story.notable(trail)
    if as_json:
        from stream.events import dumps

        sections = {heading.replace(" ", "_"): lines for heading, lines in told.items()}
        steps = [each.document() for each in entries]
        typer.echo(dumps({**trail.document(), **sections, "trail": steps}).decode())
        return
    console = screen()
    _facts(console, trail)
    for heading, lines in told.items():
        console.print()
        console.print(Text(heading, style="bold"))
        for line in lines:
            console.print(Text(f"  {line}"), soft_wrap=not console.is_terminal)
    console.print()
    console.print(
        Text("all steps" if everything else "the steps that matter (--all: every one)", style="bold")
    )
    for entry in entries:
        _line(console, entry, entry.text if everything else story.brief(entry))


def _built(
    session: str,
    files: list[Path] | None,
    tenant: str | None,
    root: str | None,
    bootstrap: str | None,
    prefix: str | None,
    **more: Any,
) -> Trail:
    from stream.events import DECISIONS, printable
    from stream.offline.trail import Files, Source, build

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    source: Source
    if files:
        source = Files(files, configured.base)
    else:
        from stream.shell.export import Bus

        source = Bus(configured)
    with progress("records read") as done:
        try:
            trail = build(
                source, session, configured.input_topics, tenant=tenant, root=root, progress=done, **more
            )
        except InputError:
            if not files and DECISIONS in source.unread:
                raise BrokerError(source.unread[DECISIONS]) from None
            raise
    if session not in (trail.name.session, trail.case_id):
        say(f"no session is called {session!r}; {printable(trail.name.session)!r} alone begins so")
    return trail


def _signatures(jwks: Path | None, issuer: str | None) -> Callable[[bytes], str]:
    """What tells what a token's signature is worth; without keys that of none is known."""
    if jwks is None:
        return lambda _: "unverified"
    from models.errors import ContractError
    from stream.cli.verifying import keys_of
    from stream.outbound.keys import DEVELOPMENT
    from stream.outbound.tokens import key_id_of, verify_token
    from stream.shell.outputs import claims_of

    keys, expected = keys_of(jwks), issuer or settings().issuer

    def signed(token: bytes) -> str:
        audience = claims_of(token).get("aud")
        whom = audience[0] if isinstance(audience, list) and audience else audience
        try:
            verify_token(token, keys, expected, str(whom))
        except ContractError as error:
            return f"refused, {error}"
        by_development = key_id_of(token).startswith(DEVELOPMENT)
        return "verified, by a development key, which proves nothing" if by_development else "verified"

    return signed


def _facts(console: Console, trail: Trail) -> None:
    from rich.table import Table
    from rich.text import Text

    from stream.events import printable
    from stream.offline.trail_page import facts

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, text in facts(trail):
        table.add_row(label, Text(printable(text)))
    console.print(table)


def _line(console: Console, entry: Entry, says: str, place: str = "") -> None:
    """One step: when, what, what it says, and where its record stands."""
    from rich.text import Text

    verdict = entry.data.get("verdict") if entry.kind == "decided" else None
    text = Text(f"{entry.time or '-':<24}  {entry.kind:<11} ", style="dim")
    text.append(says, "yellow" if entry.kind == "gap" else _STYLES.get(str(verdict), "default"))
    console.print(text.append(place, "dim"), soft_wrap=not console.is_terminal)


_STYLES = {"alert": "yellow", "deny": "magenta", "revoke": "bold red", "abstain": "cyan"}

"""``driftline verify``: a revocation's signature, an alert's schema, a policy file, a release, the chain of decisions."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from models.errors import BrokerError, ConfigError, ContractError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import AsJson, Bootstrap, Prefix, settings
from stream.cli.terminal import progress, say

if TYPE_CHECKING:
    from stream.events import Record
    from stream.offline.chain import Report
    from stream.outbound.keys import SigningKeys
    from stream.policy import Policy
    from stream.settings import Settings

SOON_DAYS = 30
app = typer.Typer(help="Check a revocation, an alert, a policy, a release or the chain of decisions.")


@app.callback(invoke_without_command=True)
def verify(
    ctx: typer.Context,
    jwks_out: Annotated[Path | None, typer.Option(help="Write this installation's public keys here.")] = None,
) -> None:
    """Check a revocation, an alert, a policy, a release or the chain of decisions."""
    if jwks_out is not None:
        _write_own_keys(settings(), jwks_out)
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _write_own_keys(configured: Settings, to: Path) -> None:
    """Write the public keys that verify what this installation signs; one that has signed nothing yet has none."""
    try:
        own = _own_keys(configured)
    except ConfigError as error:
        if configured.signing_key_file is not None:
            raise
        where = configured.state_dir.absolute()
        raise ConfigError(
            f"no signing key is set, and {where} holds no development key, so there are no keys to write: set "
            "DRIFTLINE_SIGNING_KEY_FILE, or DRIFTLINE_STATE_DIR, as your worker or `replay --all` had it"
        ) from error
    to.write_text(json.dumps(own.jwks(), indent=2) + "\n", encoding="utf-8")
    typer.echo(f"public keys written to {to}")
    if own.is_development:
        where = configured.state_dir.absolute()
        say(f"this is the development key of {where}, which receivers refuse: set DRIFTLINE_SIGNING_KEY_FILE")


@app.command()
def revocation(
    file: Annotated[
        Path | None, typer.Argument(help="A token, alone or as a line of `replay --all`; - is stdin.")
    ] = None,
    jwks: Annotated[Path | None, typer.Option(help="The issuer's public keys.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer expected (default: the settings').")] = None,
    audience: Annotated[
        str | None,
        typer.Option(help="Who you are: tokens for others are counted and skipped (default: all count)."),
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="For trials: take what a development key signed too.")
    ] = False,
) -> None:
    """Check the signature and claims of revocations, of whatever age. A token of what an end released is none, and is refused.

    Exit 0: all hold; with --audience: all that are for you, and at least one is.

    Exit 1: one does not hold, or none is for you. What is for others must be the issuer's too.
    """
    from stream.cli.documents import tokens

    configured = settings()
    if file is None:
        raise InputError("name a file with tokens, or - for standard input")
    _see_that_it_can_be_read(file)
    keys = _keys_to_verify_with(configured) if jwks is None else keys_of(jwks)
    became: Counter[str] = Counter()
    named: set[str] = set()
    for number, token in tokens(file):
        judged = _judged(token, keys, issuer or configured.issuer, audience, dev=dev)
        became[judged.became] += 1
        became["of development"] += judged.development
        named |= judged.named
        typer.echo(f"line {number}: {judged.text}")
    counts = became["hold"], became["skipped"], became["refused"]
    if sum(counts) == 0:
        raise InputError(f"{file} holds no token")
    if dev:
        say(
            f"--dev: {became['of development']} of {sum(counts)} tokens are signed by a development key, which proves nothing "
            "of who signed them; a receiver in production refuses it, and what is older than 45 days"
        )
    if audience is not None:
        typer.echo(f"{counts[0]} hold, {counts[1]} skipped (for others), {counts[2]} refused")
        if counts[1] == sum(counts):
            others = ", ".join(sorted(named)[:5])
            say(
                f"no token is for {audience}: they are for {others}; give --audience as DRIFTLINE_AUDIENCES has it"
            )
            raise typer.Exit(FINDINGS)
    if became["refused"]:
        raise typer.Exit(FINDINGS)


def _see_that_it_can_be_read(file: Path) -> None:
    """Raise `ConfigError` where a file cannot be read: the path is wrong, not what it holds."""
    if str(file) != "-" and (file.is_dir() or not os.access(file, os.R_OK)):
        raise ConfigError(f"{file} is no file that can be read; mend the path")


class _Judged(NamedTuple):
    """What became of a token (``hold``, ``skipped``, ``refused``), what to say of it, whom it is for, and what signed it."""

    became: str
    text: str
    named: frozenset[str] = frozenset()
    development: bool = False


def _judged(token: str, keys: dict[str, Any], issuer: str, audience: str | None, *, dev: bool) -> _Judged:
    """A token as a receiver judges it that knows these keys; without an `audience` it is whoever the token names."""
    from stream.outbound.claims import CREDENTIALS_RELEASED
    from stream.outbound.keys import DEVELOPMENT
    from stream.outbound.tokens import key_id_of, verify_token
    from stream.shell.outputs import claims_of

    stated = claims_of(token.encode()).get("aud")
    named = [str(each) for each in stated] if isinstance(stated, list) else [str(stated)]
    try:
        claims = verify_token(token, keys, issuer, named[0] if named else "")
    except ContractError as error:
        return _Judged("refused", f"refused, {error}")
    if CREDENTIALS_RELEASED in claims["events"]:
        return _Judged(
            "refused",
            "refused, event: no revocation; it names credentials that an end released, to be left alive",
        )
    development = key_id_of(token).startswith(DEVELOPMENT)
    if development and not dev:
        return _Judged(
            "refused",
            "refused, key: signed by a development key, which anyone can have; --dev takes it in a trial",
        )
    if audience is not None and audience not in named:
        return _Judged("skipped", f"skipped, for {', '.join(named)}", frozenset(named), development)
    text = f"holds, jti {claims['jti']}, aud {claims['aud']}, txn {claims.get('txn')}"
    return _Judged("hold", text, frozenset(named), development)


def keys_of(path: Path) -> dict[str, Any]:
    """The public keys in the file at `path`."""
    from stream.outbound.tokens import TokenError, key_set

    try:
        keys: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        key_set(keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JWK set: {error}") from error
    except TokenError as error:
        raise InputError(f"{path}: {error.detail}") from error
    return keys


def _keys_to_verify_with(configured: Settings) -> dict[str, Any]:
    """This installation's public keys."""
    try:
        return _own_keys(configured).jwks()
    except ConfigError as error:
        raise ConfigError(f"no keys to verify with: give --jwks ({error})") from error


def _own_keys(configured: Settings) -> SigningKeys:
    """This installation's keys; none are made here: such would verify nothing that was signed."""
    from stream.outbound.keys import SigningKeys

    return SigningKeys(path=configured.signing_key_file, state_dir=configured.state_dir, make=False)


@app.command()
def alert(
    file: Annotated[Path, typer.Argument(help="Alerts as JSON or JSON lines; - is stdin.")],
    as_json: AsJson = False,
) -> None:
    """Check alerts against OCSF's own schema; exit 1 when one does not hold."""
    from stream.cli.documents import documents
    from stream.events import dumps
    from stream.outbound.ocsf import problems

    _see_that_it_can_be_read(file)
    failed = count = 0
    found = []
    for number, finding in documents(file, "agent.alerts.v1"):
        count += 1
        faults = problems(finding)
        failed += bool(faults)
        for text in faults:
            if as_json:
                found.append({"line": number, "problem": text})
            else:
                typer.echo(f"line {number}: {text}")
    if count == 0:
        raise InputError(f"{file} holds no alert")
    if as_json:
        typer.echo(dumps({"alerts": count, "with_problems": failed, "problems": found}).decode())
    else:
        typer.echo(f"{count} alerts, {failed} with problems")
    if failed:
        raise typer.Exit(FINDINGS)


@app.command()
def policy(
    file: Annotated[Path | None, typer.Argument(help="A policy file (default: the one in use).")] = None,
) -> None:
    """Check a policy file; exit 1 when it is not valid, 2 when it cannot be read.

    Says which exceptions for credentials, and which expected calls, run out within 30 days, or did, and which signals have lists but no consequence.
    """
    from models.release import registry
    from stream.policy import levels, parse_policy, read_policy

    configured = settings()
    text, name = read_policy(file if file is not None else configured.policy_path)
    try:
        loaded = parse_policy(text, name)
        model = registry.load(configured.model_dir)
        for tenant in (None, *loaded.tenant_thresholds):
            levels(loaded, model.threshold, tenant)
    except ConfigError as error:
        typer.echo(str(error))
        raise typer.Exit(FINDINGS) from None
    typer.echo(f"valid, mode {loaded.mode_told}, digest {loaded.digest}")
    for text in ending_exceptions(loaded, datetime.now(UTC).date()):
        say(text)
    for signal in loaded.silenced:
        say(
            f"{signal} leads to nothing, though this policy has lists for it: set it under signals to watch, alert or deny"
        )


def ending_exceptions(rules: Policy, today: date) -> list[str]:
    """What to say of exceptions and expected calls that ran out, or will within `SOON_DAYS`."""
    from stream.events import printable

    ending = [
        *(
            (each, f"the exception for {each.broker} {each.kind} {each.value}", "replace the credential")
            for each in rules.credentials.exceptions
        ),
        *(
            (each, f"what is expected of {each.agent} with {each.tool}", "look again")
            for each in rules.expected_calls
        ),
    ]
    told = []
    for each, what, mend in ending:
        days = (each.expires - today).days
        said = printable(f"{what} (owner {each.owner})")
        if days < 0:
            told.append(f"{said} ran out on {each.expires} and counts no more: remove it")
        elif days <= SOON_DAYS:
            told.append(f"{said} runs out on {each.expires}, in {days} days: {mend} by then")
    return told


@app.command()
def release(
    directory: Annotated[
        Path | None, typer.Argument(help="A model directory (default: the bundled one).")
    ] = None,
) -> None:
    """Check the bytes of a model and of its readers against their manifests and this version; exit 5 when it cannot be used.

    Says what it promises of false alerts, and on what suppositions; exit 1 when its policy alerts more than that.
    """
    from models.release import readers, registry
    from stream.bootstrap import release_digest
    from stream.offline import promise
    from stream.policy import load_policy

    model = registry.load(directory)
    readers.load_beside(directory)
    typer.echo(f"usable, {model.name}, digest {model.digest}")
    rules = None
    if directory is not None and (file := directory / "policy.yaml").exists():
        rules = load_policy(file)
        typer.echo(f"release {release_digest(directory, rules)}")
    elif directory is not None:
        say(
            f"{directory} has no policy.yaml: it is a model; with one, such as stream/policy.yaml, it is a release to publish"
        )
    promised = promise.read(model.manifest)
    if promised is None:
        return
    for line in promise.told(promised):
        typer.echo(line)
    faults = promise.broken(promised, rules, model.threshold) if rules is not None else []
    for fault in faults:
        say(f"the promise is not kept: {fault}")
    if faults:
        raise typer.Exit(FINDINGS)


@app.command()
def chain(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Dumps of agent.decisions.v1, or output of `replay`, with cases and alerts if at hand (default: the bus).",
        ),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    root: Annotated[
        str | None, typer.Option(help="Only this root session: one partition of the bus is read.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(help="Ends of chains noted before: each must still be in its chain.")
    ] = None,
    heads_out: Annotated[
        Path | None,
        typer.Option(help="Note the ends of all chains here, to be kept where nobody else writes."),
    ] = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Check that no decision is missing, altered, out of order or told twice otherwise; exit 1 when one is.

    A chain that was cut at its end looks like one that goes on: only cases and alerts that cite what is gone, or --heads, tell.
    """
    from stream.events import ALERTS, CASES, DECISIONS, dumps
    from stream.offline import chain as chains

    configured = settings(bootstrap=bootstrap, prefix=prefix)
    noted = chains.read_heads(heads) if heads is not None else {}
    cited: dict[chains.Name, dict[str, int]] = {}

    def only(name: chains.Name) -> bool:
        return session in (None, name.session) and tenant in (None, name.tenant) and root in (None, name.root)

    with progress("records read") as done:
        logs, unread = _logs(files, configured, (CASES, ALERTS), None, done)
        for log in logs:
            chains.note_cited(log, cited, only)
        verifier = chains.Verifier(
            cited,
            {name: head for name, head in noted.items() if only(name)},
            keep_heads=heads_out is not None,
        )
        logs, unread_too = _logs(files, configured, (DECISIONS,), root, done)
        narrowed = any(each is not None for each in (session, tenant, root))
        report = chains.verify(logs, verifier, only if narrowed else None)
    if DECISIONS in unread_too:
        raise BrokerError(unread_too[DECISIONS])
    for base, why in unread.items():
        say(f"{base} is not held against the chain: {why}")
    if not (report.decisions or report.faults):
        raise InputError("there is no decision to check: nothing was judged, or the session has another name")
    if heads_out is not None:
        heads_out.write_bytes(chains.write_heads(report.heads))
    if as_json:
        typer.echo(dumps(report.document()).decode())
    else:
        _tell(report)
    if not report.holds:
        raise typer.Exit(FINDINGS)


def _logs(
    files: list[Path] | None,
    configured: Settings,
    bases: Collection[str],
    root: str | None,
    done: Callable[[int], None],
) -> tuple[Iterator[Iterator[Record]], dict[str, str]]:
    """Logs of these topics, each whole: partitions of the bus, or all files as one; and which topics could not be read, once they are."""
    from stream.offline.trail import Files
    from stream.shell.export import Bus

    count = 0

    def counting(log: Iterable[Record]) -> Iterator[Record]:
        nonlocal count
        for record in log:
            count += 1
            if count % 1000 == 0:
                done(count)
            yield record

    if files:
        return iter([counting(Files(files, configured.base).read(bases))]), {}
    bus = Bus(configured)
    return map(counting, bus.logs(bases, root)), bus.unread


def _tell(report: Report) -> None:
    """Print what was found in chains, and what that proves."""
    from stream.events import counted, printable
    from stream.offline.chain import MAX_TOLD, at_place

    for found in report.findings:
        whose = (
            f"{found.name.tenant}, session {found.name.session}" if found.name is not None else "no session"
        )
        call = f", call {found.call_seq}" if found.call_seq is not None else ""
        place = f" ({at_place(found.place)})" if found.place is not None else ""
        typer.echo(printable(f"{found.fault}: {whose}{call}: {found.text}{place}"))
    if (more := report.faults.total() - MAX_TOLD) > 0:
        typer.echo(f"and {more} more")
    for note in report.notes:
        say(printable(note))
    faults = ", ".join(f"{n} {fault}" for fault, n in sorted(report.faults.items())) or "no fault"
    repeats = f"{counted(report.repeats, 'repeat')}, {report.outside} outside their chain"
    typer.echo(
        f"{counted(report.sessions, 'session')}, {counted(report.decisions, 'decision')} ({repeats}): {faults}"
    )

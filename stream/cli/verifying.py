"""``driftline verify``: a revocation's signature, an alert's schema, a policy file, a release."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import ConfigError, ContractError, InputError
from stream.cli.exits import FINDINGS
from stream.cli.options import settings

if TYPE_CHECKING:
    from stream.settings import Settings

app = typer.Typer(help="Check a revocation, an alert, a policy or a release.")


@app.callback(invoke_without_command=True)
def verify(
    ctx: typer.Context,
    jwks_out: Annotated[Path | None, typer.Option(help="Write this installation's public keys here.")] = None,
) -> None:
    """Check a revocation, an alert, a policy or a release."""
    from stream.outbound.keys import SigningKeys

    if jwks_out is not None:
        configured = settings()
        own = SigningKeys(path=configured.signing_key_file, state_dir=configured.state_dir).jwks()
        jwks_out.write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
        typer.echo(f"public keys written to {jwks_out}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command()
def revocation(
    file: Annotated[
        Path | None, typer.Argument(help="A token, alone or as a line of `replay --all`; - is stdin.")
    ] = None,
    jwks: Annotated[Path | None, typer.Option(help="The issuer's public keys.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer expected (default: the settings').")] = None,
    audience: Annotated[
        str | None, typer.Option(help="Who you are (default: whoever the token names).")
    ] = None,
) -> None:
    """Check the signature and claims of revocations; exit 1 when one does not hold."""
    from stream.cli.documents import tokens

    configured = settings()
    if file is None:
        raise InputError("name a file with tokens, or - for standard input")
    _see_that_it_can_be_read(file)
    keys = _own_keys(configured) if jwks is None else _keys_of(jwks)
    failed = count = 0
    for number, token in tokens(file):
        count += 1
        holds, text = _judged(token, keys, issuer or configured.issuer, audience)
        failed += not holds
        typer.echo(f"line {number}: {text}")
    if count == 0:
        raise InputError(f"{file} holds no token")
    if failed:
        raise typer.Exit(FINDINGS)


def _see_that_it_can_be_read(file: Path) -> None:
    """Raise `ConfigError` where a file cannot be read: the path is wrong, not what it holds."""
    if str(file) != "-" and (file.is_dir() or not os.access(file, os.R_OK)):
        raise ConfigError(f"{file} is no file that can be read; mend the path")


def _judged(token: str, keys: dict[str, Any], issuer: str, audience: str | None) -> tuple[bool, str]:
    """Whether a token holds, and what to say of it."""
    from stream.outbound.tokens import verify_token
    from stream.shell.outputs import claims_of

    stated = claims_of(token.encode()).get("aud")
    reader = audience or (stated[0] if isinstance(stated, list) and stated else str(stated))
    try:
        claims = verify_token(token, keys, issuer, reader)
    except ContractError as error:
        return False, f"refused, {error}"
    return True, f"holds, jti {claims['jti']}, aud {claims['aud']}, txn {claims.get('txn')}"


def _keys_of(path: Path) -> dict[str, Any]:
    """The public keys in the file at `path`."""
    from stream.outbound.tokens import TokenError, key_set

    try:
        keys: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        key_set(keys)
    except ValueError as error:
        raise InputError(f"{path} is no JWK set: {error}") from error
    except TokenError as error:
        raise InputError(f"{path}: {error.detail}") from error
    return keys


def _own_keys(configured: Settings) -> dict[str, Any]:
    """This installation's public keys; none are made here, which would verify nothing."""
    from stream.outbound.keys import SigningKeys

    try:
        own = SigningKeys(path=configured.signing_key_file, state_dir=configured.state_dir, make=False)
    except ConfigError as error:
        raise ConfigError(f"no keys to verify with: give --jwks ({error})") from error
    return own.jwks()


@app.command()
def alert(
    file: Annotated[Path, typer.Argument(help="Alerts as JSON or JSON lines; - is stdin.")],
) -> None:
    """Check alerts against OCSF's own schema; exit 1 when one does not hold."""
    from stream.cli.documents import documents
    from stream.outbound.ocsf import problems

    _see_that_it_can_be_read(file)
    failed = count = 0
    for number, finding in documents(file, "agent.alerts.v1"):
        count += 1
        faults = problems(finding)
        failed += bool(faults)
        for text in faults:
            typer.echo(f"line {number}: {text}")
    if count == 0:
        raise InputError(f"{file} holds no alert")
    typer.echo(f"{count} alerts, {failed} with problems")
    if failed:
        raise typer.Exit(FINDINGS)


@app.command()
def policy(
    file: Annotated[Path | None, typer.Argument(help="A policy file (default: the one in use).")] = None,
) -> None:
    """Check a policy file; exit 1 when it is not valid, 2 when it cannot be read."""
    from models.release import registry
    from stream.policy import levels, parse_policy, read_policy

    configured = settings()
    text, name = read_policy(file if file is not None else configured.policy_path)
    try:
        loaded = parse_policy(text, name)
        levels(loaded, registry.load(configured.model_dir).threshold)
    except ConfigError as error:
        typer.echo(str(error))
        raise typer.Exit(FINDINGS) from None
    typer.echo(f"valid, mode {loaded.mode}, digest {loaded.digest}")


@app.command()
def release(
    directory: Annotated[
        Path | None, typer.Argument(help="A model directory (default: the bundled one).")
    ] = None,
) -> None:
    """Check the bytes of a model and of its readers against their manifests and this version; exit 5 when it cannot be used."""
    from models.release import readers, registry
    from stream.bootstrap import release_digest
    from stream.policy import load_policy

    model = registry.load(directory)
    readers.load_beside(directory)
    typer.echo(f"usable, {model.name}, digest {model.digest}")
    if directory is not None and (file := directory / "policy.yaml").exists():
        typer.echo(f"release {release_digest(directory, load_policy(file))}")

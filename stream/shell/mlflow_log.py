"""A release in MLflow: a run with its papers and bytes, one version of a registered model, and aliases that follow ours.

The tag `DIGEST` says which release a run and a version are. By it what is there already is found again, whole or half done, so that
logging twice makes nothing twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from models.errors import TrackingError
from models.release.registry import read_manifest
from stream.events import CORE
from stream.offline import release_papers
from stream.offline.gates import Gate
from stream.policy import load_policy
from stream.shell.mlflow_http import ABSENT, Names, Refused, Server

DIGEST = "driftline.digest"
OURS, RELEASES = "driftline", "releases"
"""The tag of a registered model whose versions are releases; without it a model is somebody else's."""
SINCE = ("location", "signed_by")
"""Tags of a release that its registration on the bus brings, which may come after its version."""
MAX_PARAMETERS = 100
"""Parameters and tags that one request may have, by MLflow's documents."""


class Logging(NamedTuple):
    """A release to log.

    Parameters
    ----------
    digest : str
        What an activation names.
    folder : callable
        Brings the folder with its bytes; called where no version has it yet.
    tags : mapping
        What else is known of it, by names behind ``driftline.``; empty values are left out.
    reports : sequence of Path
        Files that are kept beside it.
    """

    digest: str
    folder: Callable[[], Path]
    tags: Mapping[str, str] = {}
    reports: Sequence[Path] = ()


class Logged(NamedTuple):
    """The version that a release has; whether it was made just now."""

    version: str
    run_id: str
    made: bool


class Promotion(NamedTuple):
    """Who promoted a release, why though a gate failed (empty where none did), and what gates compared."""

    by: str
    reason: str
    gates: Sequence[Gate]


def log(server: Server, names: Names, release: Logging) -> Logged:
    """The version of a release, made where there is none.

    Raises
    ------
    TrackingError
        The server cannot be reached or refuses it, or a name is somebody else's; `Refused` is one of them.
    """
    server.need_aliases()
    _need_our_model(server, names.model)
    there = _version_of(server, names.model, release.digest)
    if there is None:
        run = _run(server, _experiment(server, names.experiment), release)
        made = _new_version(server, names.model, run, release)
    else:
        made, tags = there
        _keep_since(server, names.model, made, tags, release)
    if release.reports:
        _keep_reports(server, made.run_id, release.reports)
    return made


def _keep_since(server: Server, model: str, there: Logged, tags: Mapping[str, str], release: Logging) -> None:
    """Tell a version that is there, and its run, what came to be known of the release since: a folder has no place on the bus, and no signer."""
    told = {f"driftline.{name}": release_papers.shown(release.tags.get(name, "")) for name in SINCE}
    new = {name: value for name, value in told.items() if value and tags.get(name) != value}
    if not new:
        return
    for tag in _tags(new):
        document = {"name": model, "version": there.version, **tag}
        server.call("say where it is", "POST", "model-versions/set-tag", document)
    server.call("say where it is", "POST", "runs/log-batch", {"run_id": there.run_id, "tags": _tags(new)})


def point(server: Server, names: Names, alias: str, version: str) -> None:
    """Let an alias of the model stand for a version; raises as `log`."""
    document = {"name": names.model, "alias": alias, "version": version}
    server.call(f"name version {version} @{alias}", "POST", "registered-models/alias", document)


def unpoint(server: Server, names: Names, alias: str) -> None:
    """Take an alias away: what it stands for is no release that is logged; raises as `log`."""
    server.need_aliases()
    _need_our_model(server, names.model)
    try:
        document = {"name": names.model, "alias": alias}
        server.call(f"take @{alias} away", "DELETE", "registered-models/alias", document)
    except Refused as refusal:
        if refusal.code != ABSENT:
            raise


def note(server: Server, names: Names, logged: Logged, promotion: Promotion) -> None:
    """Tell a version of its promotion, and its run what gates compared; raises as `log`."""
    failed = [gate.name for gate in promotion.gates if not gate.holds]
    tags = {
        "driftline.promoted_by": promotion.by,
        "driftline.gates": f"{len(promotion.gates) - len(failed)} of {len(promotion.gates)} hold",
        "driftline.forced": promotion.reason or "no",
    }
    for name, value in tags.items():
        tag = {"key": name, "value": release_papers.shown(value)}
        document = {"name": names.model, "version": logged.version, **tag}
        server.call("say who promoted it", "POST", "model-versions/set-tag", document)
    at = int(time.time())
    figures = release_papers.of_gates(promotion.gates)
    _keep_figures(server, logged.run_id, figures, at_ms=1000 * at, step=at)


def _keep_figures(
    server: Server, run_id: str, figures: Mapping[str, float], at_ms: int, step: int = 0
) -> None:
    metrics = [
        {"key": name, "value": value, "timestamp": at_ms, "step": step} for name, value in figures.items()
    ]
    server.call("keep the figures", "POST", "runs/log-batch", {"run_id": run_id, "metrics": metrics})


# ------------------------------------------------------------------ what stands there


def _need_our_model(server: Server, model: str) -> None:
    """Make the registered model, where there is none; refuse one that is somebody else's."""
    try:
        found = server.call("look for the model", "GET", "registered-models/get", {"name": model})
    except Refused as refusal:
        if refusal.code != ABSENT:
            raise
        document = {
            "name": model,
            "tags": _tags({OURS: RELEASES}),
            "description": "Releases of Driftline: model, readers and policy. Aliases follow those on its bus.",
        }
        server.call("make the model", "POST", "registered-models/create", document)
        return
    tags = {tag.get("key"): tag.get("value") for tag in _list(_within(found, "registered_model"), "tags")}
    if tags.get(OURS) != RELEASES:
        raise TrackingError(
            f"MLflow at {server.netloc} has a model {model!r} that is not of Driftline's releases; name another with --mlflow-model, "
            f"or give that one the tag {OURS}={RELEASES}"
        )


def _version_of(server: Server, model: str, digest: str) -> tuple[Logged, dict[str, str]] | None:
    """The version of a release, and its tags."""
    document = {"filter": f"name = '{model}' and tags.`{DIGEST}` = '{digest}'", "max_results": "100"}
    found = server.call("look for the release", "GET", "model-versions/search", document)
    # Two who log at one moment may make two; all take the first.
    one = min(_list(found, "model_versions"), key=lambda each: _whole(each, "version"), default=None)
    if one is None:
        return None
    tags = {str(tag.get("key")): str(tag.get("value")) for tag in _list(one, "tags")}
    return Logged(str(_whole(one, "version")), _text(one, "run_id"), False), tags


def _experiment(server: Server, name: str) -> str:
    """The id of the experiment, made where there is none, if it keeps artifacts where the server itself stores them."""
    asked = "look for the experiment"
    try:
        found = server.call(asked, "GET", "experiments/get-by-name", {"experiment_name": name})
    except Refused as refusal:
        if refusal.code != ABSENT:
            raise
        made = server.call("make the experiment", "POST", "experiments/create", {"name": name})
        asked_by_id = {"experiment_id": _text(made, "experiment_id")}
        found = server.call(asked, "GET", "experiments/get", asked_by_id)
    experiment = _within(found, "experiment")
    if experiment.get("lifecycle_stage") != "active":
        raise TrackingError(
            f"MLflow at {server.netloc} keeps an experiment {name!r} that was deleted; restore it, or name another with --mlflow-experiment"
        )
    _artifacts(server, _text(experiment, "artifact_location"))
    return _text(experiment, "experiment_id")


def _artifacts(server: Server, uri: str) -> str:
    """Where below the server's own artifacts a place is."""
    parts = urlsplit(uri)
    path = parts.path.strip("/")
    if parts.scheme != "mlflow-artifacts" or parts.netloc not in ("", server.netloc) or ".." in path:
        raise TrackingError(
            f"MLflow at {server.netloc} keeps this experiment's artifacts elsewhere ({parts.scheme or 'a folder'}), where only its own client writes; "
            "start it with --serve-artifacts, and name an experiment that is made then with --mlflow-experiment"
        )
    return path


def _run(server: Server, experiment: str, release: Logging) -> Mapping[str, Any]:
    """The finished run of a release: the one there is, gone on with where it was left half done, else a new one."""
    document = {
        "experiment_ids": [experiment],
        "filter": f"tags.`{DIGEST}` = '{release.digest}'",
        "max_results": 1,
        "order_by": ["attributes.start_time ASC"],
    }
    there = _list(server.call("look for its run", "POST", "runs/search", document), "runs")
    if there:
        run = _within(there[0], "info")
    else:
        document = {
            "experiment_id": experiment,
            "run_name": f"release {release.digest[:12]}",
            "start_time": int(1000 * time.time()),
            "tags": _tags({DIGEST: release.digest, "mlflow.source.name": "driftline"}),
        }
        run = _within(_within(server.call("make the run", "POST", "runs/create", document), "run"), "info")
    if run.get("status") != "FINISHED":
        try:
            _fill(server, run, release)
        except Refused:
            with suppress(TrackingError):
                _end(server, run, "FAILED")
            raise
        _end(server, run, "FINISHED")
    return run


def _end(server: Server, run: Mapping[str, Any], status: str) -> None:
    document = {"run_id": _text(run, "run_id"), "status": status, "end_time": int(1000 * time.time())}
    server.call("end the run", "POST", "runs/update", document)


def _fill(server: Server, run: Mapping[str, Any], release: Logging) -> None:
    """All that a run has. What an attempt before wrote is written again, and is the same."""
    folder = release.folder()
    manifest = read_manifest(folder)
    run_id = _text(run, "run_id")
    parameters = [
        {"key": name, "value": value} for name, value in release_papers.parameters(manifest).items()
    ]
    for begin in range(0, len(parameters), MAX_PARAMETERS):
        document = {"run_id": run_id, "params": parameters[begin : begin + MAX_PARAMETERS]}
        server.call("keep the parameters", "POST", "runs/log-batch", document)
    # At the time of the run's start: the same figure at the same time is there once.
    _keep_figures(server, run_id, release_papers.metrics(manifest), _whole(run, "start_time"))
    told = {"run_id": run_id, "tags": _tags(_told(release, folder, manifest))}
    server.call("keep the tags", "POST", "runs/log-batch", told)
    place = _artifacts(server, _text(run, "artifact_uri"))
    for name, path in release_papers.files(folder).items():
        server.put(f"keep {name}", f"{place}/release/{name}", path)


def _told(release: Logging, folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    policy = load_policy(folder / "policy.yaml")
    told = {
        "model": manifest.get("sha256", ""),
        "features_version": str(manifest.get("features_version", "")),
        "core": str(CORE),
        "policy": policy.digest,
        "mode": policy.mode,
        "accepted": manifest.get("accepted", ""),
        **release.tags,
    }
    return {f"driftline.{name}": release_papers.shown(value) for name, value in told.items() if value}


def _keep_reports(server: Server, run_id: str, reports: Sequence[Path]) -> None:
    found = _within(server.call("look for its run", "GET", "runs/get", {"run_id": run_id}), "run")
    place = _artifacts(server, _text(_within(found, "info"), "artifact_uri"))
    for path in reports:
        server.put(f"keep {path.name}", f"{place}/reports/{path.name}", path)


def _new_version(server: Server, model: str, run: Mapping[str, Any], release: Logging) -> Logged:
    run_id = _text(run, "run_id")
    # The digest comes with the version: one that is there without it is not ours.
    tags = {DIGEST: release.digest, **{f"driftline.{name}": value for name, value in release.tags.items()}}
    document = {
        "name": model,
        "source": f"{_text(run, 'artifact_uri')}/release",
        "run_id": run_id,
        "tags": _tags({name: release_papers.shown(value) for name, value in tags.items() if value}),
    }
    made = server.call("make the version", "POST", "model-versions/create", document)
    return Logged(_text(_within(made, "model_version"), "version"), run_id, True)


# ------------------------------------------------------------------ what answers hold


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in tags.items()]


def _within(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise _odd(name)
    return found


def _list(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name) or []  # an empty one is left out
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _odd(name)
    return found


def _text(answer: Mapping[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str) or not found:
        raise _odd(name)
    return found


def _whole(answer: Mapping[str, Any], name: str) -> int:
    """A whole number, which protobuf's JSON may write as text."""
    try:
        return int(answer.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        raise _odd(name) from None


def _odd(name: str) -> TrackingError:
    return TrackingError(
        f"what answers is no MLflow server, or one that we do not know: its answer has no {name}; mend the address"
    )

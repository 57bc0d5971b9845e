"""What a release's manifest says, flat, as trackers of experiments have it: parameters, figures, and the files to keep."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.release import readers
from models.release.contents import files_of
from stream.offline.gates import Gate

MAX_VALUE = 500
"""Characters of a value, which every server takes."""
MAX_NAME = 250
MAX_METRICS = 1000
_SETTINGS = ("recipe", "plan", "allowance", "joint", "split")
"""Parts of a manifest that say how a model was made, and become parameters."""
_PLAIN = ("features_version", "sklearn", "command")


def parameters(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Recipe, plan and what else a model was made with, by dotted names."""
    found = {name: manifest[name] for name in _PLAIN if name in manifest}
    for part in _SETTINGS:
        found |= {f"{part}.{name}": value for name, value in _leaves(manifest.get(part), ".")}
    found |= {
        "features": len(manifest.get("features", ())),
        "files_learnt_from": len(manifest.get("data", ())),
    }
    return {_name(name): shown(value) for name, value in sorted(found.items())}


def metrics(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Thresholds as shares of 1, figures of the hold-outs, sessions learnt from, and how the samples fared; at most `MAX_METRICS`."""
    found = {
        f"threshold/{budget}": units / 10_000 for budget, units in manifest.get("thresholds", {}).items()
    }
    figures = {"base_rate": manifest.get("base_rate"), **manifest.get("metrics", {})}
    found |= {name: value for name, value in _leaves(figures, "/") if _is_figure(value)}
    found |= {f"sessions/{name}": n for name, n in manifest.get("sessions", {}).items() if _is_figure(n)}
    samples = [Gate(**gate) for gate in manifest.get("samples", ())]
    found |= of_gates(samples, "samples")
    kept = {_name(name): float(value) for name, value in found.items()}
    return dict(sorted(kept.items())[:MAX_METRICS])


def of_gates(found: Sequence[Gate], under: str = "gates") -> dict[str, float]:
    """What gates compared, and whether each holds (1) or fails (0).

    >>> of_gates([Gate("MB", "11.1", "not measured", False)])
    {'gates/MB/holds': 0.0, 'gates/MB/champion': 11.1}
    """
    told: dict[str, float] = {}
    for gate in found:
        told[_name(f"{under}/{gate.name}/holds")] = float(gate.holds)
        for side, text in (("champion", gate.champion), ("challenger", gate.challenger)):
            if re.fullmatch(r"\d+(\.\d+)?", text):
                told[_name(f"{under}/{gate.name}/{side}")] = float(text)
    return told


def files(folder: Path) -> dict[str, Path]:
    """What decisions depend on, by the name under which it is kept; what else lies in the folder is nobody's business.

    Readers that come with the package are kept beside a model that has none of its own, as `models.release.contents` binds them.
    """
    bound = files_of(folder)
    list_file = bound["readers"]
    names = readers.read_list(list_file.parent).files()
    beside = [list_file, *(list_file.parent / name for name in names)]
    return {path.name: path for path in (bound["manifest"], bound["model"], folder / "policy.yaml", *beside)}


def shown(value: Any) -> str:
    """A value as text, cut to `MAX_VALUE`.

    >>> shown([1, 2]), shown("a b"), len(shown("x" * 501))
    ('[1,2]', 'a b', 500)
    """
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def _leaves(value: Any, joint: str, before: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        if before and value is not None:
            yield before, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, joint, f"{before}{joint}{name}" if before else str(name))


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(text: str) -> str:
    """`text` of the characters that names of parameters and figures may have everywhere.

    >>> _name("gates/Brier score, share of the base rate's")
    'gates/Brier score_ share of the base rate_s'
    """
    return re.sub(r"[^A-Za-z0-9_. /-]", "_", text)[:MAX_NAME]

"""Releases that may be activated are read from a folder, each named by all that its decisions depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from models.errors import ConfigError
from models.release import readers, registry
from stream import bootstrap, policy
from stream.offline import gates
from stream.settings import Settings

POLICY = Path(policy.__file__).parent / "policy.yaml"


def folder_with(root: Path, name: str, policy_text: str) -> Path:
    shutil.copytree(registry.BUNDLED, root / name)
    (root / name / "policy.yaml").write_text(policy_text, encoding="utf-8")
    return root / name


def test_a_folder_of_releases_is_known_by_all_that_it_holds(tmp_path: Path) -> None:
    text = POLICY.read_text(encoding="utf-8")
    folder_with(tmp_path, "one", text)
    folder_with(tmp_path, "two", text.replace("idle_minutes: 60", "idle_minutes: 30"))
    found = bootstrap.releases_in(tmp_path)
    assert len(found) == 2
    for place, (digest, release) in zip(("one", "two"), found.items(), strict=True):
        assert len(digest) == 64
        assert digest == bootstrap.release_digest(tmp_path / place, release.policy)
    judge = bootstrap.judge(Settings(releases_dir=tmp_path))
    assert set(judge.releases) == {"", *found}


def reworded(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_a_detector_that_was_muted_is_another_release(tmp_path: Path) -> None:
    """Thresholds, heads, the table of words and the policy: none can change under the digest that was signed."""
    text = POLICY.read_text(encoding="utf-8")
    whole = bootstrap.release_digest(folder_with(tmp_path, "whole", text), policy.load_policy())
    manifest = json.loads((registry.BUNDLED / registry.MANIFEST_FILE).read_text(encoding="utf-8"))
    muted = folder_with(tmp_path, "muted", text)
    manifest["thresholds"] = dict.fromkeys(manifest["thresholds"], registry.NEVER)
    (muted / registry.MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    deaf = folder_with(tmp_path, "deaf", text)
    reworded(deaf / "acting.json", '"bias":', '"bias": 1, "was":')
    readers.write(deaf, "acting", (deaf / "acting.json").read_bytes())
    other = policy.load_policy(mode="enforce")
    digests = {
        whole,
        bootstrap.release_digest(muted, policy.load_policy()),
        bootstrap.release_digest(deaf, policy.load_policy()),
        bootstrap.release_digest(tmp_path / "whole", other),
    }
    assert len(digests) == 4


def test_a_release_without_readers_is_bound_to_those_of_the_package(tmp_path: Path) -> None:
    place = folder_with(tmp_path, "plain", POLICY.read_text(encoding="utf-8"))
    whole = bootstrap.release_digest(place, policy.load_policy())
    for file in [readers.LIST_FILE, *readers.read_list(place).files()]:
        (place / file).unlink()
    assert bootstrap.release_digest(place, policy.load_policy()) == whole
    assert bootstrap.release_digest(None, policy.load_policy()) == whole


def test_one_release_in_two_folders_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder_with(tmp_path, name, POLICY.read_text(encoding="utf-8"))
    with pytest.raises(
        ConfigError, match=r"two is the same release as another folder .*; remove one of them"
    ):
        bootstrap.releases_in(tmp_path)


def test_keys_that_may_activate_are_read_from_their_file(tmp_path: Path) -> None:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    path = tmp_path / "activation.json"
    path.write_text(json.dumps({"keys": [key.as_dict(private=False)]}), encoding="utf-8")
    bootstrap.judge(Settings(activation_jwks=path))
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match="no JWK set"):
        bootstrap.judge(Settings(activation_jwks=path))


def test_a_folder_that_is_not_there_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        bootstrap.judge(Settings(releases_dir=tmp_path / "nowhere"))


def test_the_gate_of_calibration_says_which_way_is_better() -> None:
    (gate,) = gates._on_hold_outs(
        {"brier": 0.02, "brier_base_rate": 0.1}, {"brier": 0.05, "brier_base_rate": 0.1}
    )
    assert (gate.champion, gate.challenger, gate.holds, gate.why) == (
        "0.200",
        "0.500",
        False,
        "lower is better",
    )

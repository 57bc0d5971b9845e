"""Releases that may be activated are read from a folder, each named by its model and policy together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from models.errors import ConfigError
from models.release import registry
from stream import bootstrap, policy
from stream.settings import Settings

POLICY = Path(policy.__file__).parent / "policy.yaml"


def folder_with(root: Path, name: str, policy_text: str) -> Path:
    shutil.copytree(registry.BUNDLED, root / name)
    (root / name / "policy.yaml").write_text(policy_text, encoding="utf-8")
    return root / name


def test_a_folder_of_releases_is_known_by_model_and_policy_together(tmp_path: Path) -> None:
    text = POLICY.read_text(encoding="utf-8")
    folder_with(tmp_path, "one", text)
    folder_with(tmp_path, "two", text.replace("idle_minutes: 60", "idle_minutes: 30"))
    found = bootstrap.releases_in(tmp_path)
    assert len(found) == 2
    for digest, release in found.items():
        assert len(digest) == 64
        assert digest == bootstrap.release_digest(release.scorer.digest, release.policy)  # type: ignore[attr-defined]
    judge = bootstrap.judge(Settings(releases_dir=tmp_path))
    assert set(judge.releases) == {"", *found}


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

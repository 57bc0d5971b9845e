"""The configurations that docs/ssf.md shows are configurations."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from stream.shell.transmit_metrics import TransmitMeasures
from stream.transmit.configuration import Configuration

PAGE = (Path(__file__).parents[2] / "docs" / "ssf.md").read_text(encoding="utf-8")


def test_its_configurations_are_read_and_only_the_trial_goes_without_tls() -> None:
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", PAGE, re.M | re.S)
    trial, real = (
        Configuration.model_validate(yaml.safe_load(re.sub(f"^{indent}", "", text, flags=re.M)), strict=False)
        for indent, text in blocks
    )
    assert trial.plain() == ["listen", "url"]
    assert real.plain() == []
    assert real.receivers["desk"].stream is not None
    assert real.limits.give_up_minutes == 30


def test_its_table_names_every_metric() -> None:
    told = set(re.findall(r"`(driftline_transmit_\w+?)(?:_total)?\{", PAGE))
    made = {each.name for each in TransmitMeasures(["idp"]).registry.collect()}
    assert told == made

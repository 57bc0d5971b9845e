"""``driftline demo`` as whoever types it sees it: the console answers at the address that is printed, and credentials die."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from stream.shell.demo import SAMPLES
from tests.command import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
ADDRESS = re.compile(r"^console, while this runs: (\S+)$")


@contextmanager
def demo(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, without what is set for other tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTLINE_", "KAFKA_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", "demo", *options],
        env=kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_demo_prints_where_its_console_answers_and_credentials_that_lived_are_dead_in_the_end() -> None:
    sample = SAMPLES / "19-finance-invoice-iban-swap.jsonl"
    with demo("--data", str(sample), "--rate", "2") as running:
        assert running.stdout is not None
        address = next(found[1] for line in running.stdout if (found := ADDRESS.match(line.strip())))
        page = httpx2.get(address, follow_redirects=True, timeout=60)
        said = running.stdout.read()
        assert running.wait() == 0, said
    assert page.status_code == 200
    assert "Driftline" in page.text
    assert re.search(r"1 active at the OAuth server before, 0 after", said), said
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address)

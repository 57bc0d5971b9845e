"""What `driftline held` prints of names that agents choose."""

from __future__ import annotations

import pytest

from stream.cli.holding import _show
from stream.shell.held import Waiting

NAMES = ["x[/bold]y", "[/]", "s[bold]-1[red]", "[link=http://evil.example]x[/link]", "a\x1b[31mb\nc"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_and_never_read_as_markup(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    each = Waiting("b" * 32, name, name, name, "t", name, [name], name, "c", 0.9, name, name)
    for breaker in (None, each.breaker):
        _show([each], breaker)
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert name.replace("\x1b", " ").replace("\n", " ") in shown

"""A packed form that changes must change VERSION: a state that an older worker left is then rebuilt, not misread.

After a change that is meant to alter it: raise ``VERSION`` in ``models/session.py`` and put what the test finds here.
Of a field that is only renamed the bytes stay what they were, since arrays have no names: put the new digest alone.
"""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest

from models import session
from models.heads.handover import ANSWERS
from models.text.embedding import DIMS
from models.text.meaning import LINE

HELD = (23, "6ff43fa7b17b52e1")
"""The version, and the digest of the form that it stands for."""


def form() -> str:
    """All fields of all packed structures, in order, and the widths of what is packed inside bytes."""
    packed = {
        name: [(field.name, str(field.type)) for field in msgspec.structs.fields(kind)]
        for name, kind in sorted(vars(session).items())
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
    }
    widths = {"DIMS": DIMS, "ANSWERS": ANSWERS, "LINE": LINE}
    return hashlib.sha256(json.dumps([packed, widths]).encode()).hexdigest()[:16]


def test_another_packed_form_has_another_version() -> None:
    found = form()
    assert (session.VERSION, found) == HELD, (
        f"the packed form is now {found}: raise VERSION, and write both here"
    )


def test_the_widths_inside_bytes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = form()
    monkeypatch.setitem(globals(), "DIMS", DIMS + 32)
    assert form() != before

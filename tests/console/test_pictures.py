"""The docs' pictures of the console can be taken again: of the same pages, in both themes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from tests.conftest import absent
from tests.console import pictures
from tests.unit.test_console import indexed

pytestmark = pytest.mark.slow


def test_each_picture_of_the_docs_is_one_that_the_command_takes(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        absent("NOT RUN: Chromium is needed; apt-get install chromium")
    taken = pictures.take(indexed(pictures.samples()), tmp_path)
    assert {path.name for path in taken} == {path.name for path in pictures.FOLDER.glob("console-*.png")}
    for path in taken:
        with Image.open(path) as picture:
            assert picture.width == pictures.WIDTH
            (brightness,) = ImageStat.Stat(picture.convert("L")).mean
            assert (brightness < 80) if "dark" in path.name else (brightness > 200), path.name

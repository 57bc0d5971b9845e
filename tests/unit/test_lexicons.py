"""Word lists as data: each is used, each that is asked for exists, and a file that breaks the schema is refused."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import ArtefactError
from models.lexicons.loader import FOLDER, Lexicon, lexicon

ROOT = Path(__file__).parents[2]
FORMS = {"words": "words", "ordered": "ordered", "stands_for": "groups"}
"""What a list is asked for with, and the form in which it then stands in its file."""


def asked_for(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """File, list and form of every list that a module asks for, by `lexicon` itself or by a name it gave that."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    files = {ast.unparse(node.targets[0]): file_of(node.value, {}) for node in assigned}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FORMS:
            file = file_of(node.func.value, files)
            if file is not None:
                (which,) = node.args
                assert isinstance(which, ast.Constant), f"which list is meant? {ast.unparse(node)}"
                yield file, str(which.value), FORMS[node.func.attr]


def file_of(node: ast.expr, files: dict[str, str | None]) -> str | None:
    if isinstance(node, ast.Name):
        return files.get(node.id)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "lexicon":
        (file,) = node.args
        assert isinstance(file, ast.Constant), f"which file is meant? {ast.unparse(node)}"
        return str(file.value)
    return None


def used() -> Counter[tuple[str, str, str]]:
    modules = [*(ROOT / "models").rglob("*.py"), *(ROOT / "stream").rglob("*.py")]
    trees = (ast.parse(path.read_bytes()) for path in modules if path.parent != FOLDER)
    return Counter(found for tree in trees for found in asked_for(tree))


def held() -> set[tuple[str, str, str]]:
    files = {path.stem: lexicon(path.stem).lists for path in FOLDER.glob("*.toml")}
    return {
        (file, name, form)
        for file, lists in files.items()
        for name, made in lists.items()
        for form in FORMS.values()
        if getattr(made, form) is not None
    }


def test_every_list_is_used_and_every_list_that_is_used_exists() -> None:
    assert len(held()) > 30
    assert set(used()) == held()


def test_a_list_is_asked_for_in_one_place() -> None:
    assert [wanted for wanted, times in used().items() if times > 1] == []


def test_what_is_asked_for_is_found_in_code() -> None:
    code = "A = lexicon('a')\nB = lexicon('b')\nx = A.words('one') | B.ordered('two')\ny = lexicon('c').stands_for('three')"
    assert sorted(asked_for(ast.parse(code))) == [
        ("a", "one", "words"),
        ("b", "two", "ordered"),
        ("c", "three", "groups"),
    ]


MOST = 7
"""Words of one text in code from which on they are a list."""
ALTERNATIVES = re.compile(rf"[a-z_]{{2,}}(?:\|[a-z_]{{2,}}){{{MOST},}}", re.IGNORECASE)


def listed_in(tree: ast.AST) -> Iterator[str]:
    """Texts of code that are lists of words: split at white space, or alternatives of a pattern."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
            text = node.func.value
            if isinstance(text, ast.Constant) and len(str(text.value).split()) > MOST:
                yield str(text.value)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and ALTERNATIVES.search(node.value)
        ):
            yield node.value


def test_code_holds_no_list_of_words() -> None:
    # What a producer copies holds its own; what trains, or makes sessions up, is not what judges.
    apart = ("models/text/privacy.py", "models/training/")
    paths = [*(ROOT / "models").rglob("*.py"), *(ROOT / "stream").rglob("*.py")]
    lists = {
        path.relative_to(ROOT).as_posix(): found
        for path in paths
        if not path.relative_to(ROOT).as_posix().startswith(apart)
        and (found := [*listed_in(ast.parse(path.read_bytes()))])
    }
    assert lists == {}


@pytest.mark.parametrize(
    ("code", "lists"),
    [
        ('"a1 b2 c3 d4 e5 f6 g7 h8".split()', 1),
        ('"a few words of a text".split()', 0),
        (r're.compile(r"\b(?:get|put|set|run|add|cut|let|hit|cast)\b")', 1),
        (r're.compile(r"\b(?:get|put|set|run)\b")', 0),
    ],
)
def test_a_list_of_words_in_code_is_found(code: str, lists: int) -> None:
    assert len([*listed_in(ast.parse(code))]) == lists


def made(folder: Path, text: str) -> Lexicon:
    path = folder / "made.toml"
    path.write_text(text, encoding="utf-8")
    return Lexicon(path)


GOOD = """
[endings]
purpose = "Endings that a word loses, the longest first."
source = "https://example.org"
ordered = ["ing", "ed"]

[verbs]
purpose = "Verbs of looking, for a test."
words = ["find", "see"]

[said]
purpose = "Other words for these verbs, for a test."
groups.find = ["discover", "locate"]
groups.see = ["behold"]
"""


def test_the_three_forms_of_a_list(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD)
    assert found.words("verbs") == {"find", "see"}
    assert found.ordered("endings") == ("ing", "ed")
    assert dict(found.stands_for("said")) == {"discover": "find", "locate": "find", "behold": "see"}


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('["find", "see"]', '["see", "find"]', "'find' stands behind 'see': sort the words"),
        ('["find", "see"]', '["find", "find"]', "it holds 'find' twice"),
        ('["find", "see"]', "[]", r"\[verbs.words\] List should have at least 1 item"),
        ('["find", "see"]', '["", "see"]', r"\[verbs.words.0\] String should have at least 1 character"),
        ('["find", "see"]', "[1]", r"\[verbs.words.0\] Input should be a valid string"),
        ('words = ["find", "see"]', "", "exactly one of `words`, `ordered` and `groups`"),
        ('["find", "see"]', '["find", "see"]\nordered = ["see"]', "exactly one of"),
        (
            '["find", "see"]',
            '["find", "see"]\nsorted = true',
            r"\[verbs.sorted\] Extra inputs are not permitted",
        ),
        ('purpose = "Verbs of looking, for a test."\n', "", r"\[verbs.purpose\] Field required"),
        ('"Verbs of looking, for a test."', '"verbs"', r"\[verbs.purpose\] String should match pattern"),
        ('["ing", "ed"]', '["ing", "ed", "ing"]', "it holds 'ing' twice"),
        ('["behold"]', '["behold", "locate"]', "it holds 'locate' twice"),
        ('["discover", "locate"]', '["locate", "discover"]', "sort the words"),
        ("groups.find", "groups.watch", "its groups are not sorted by their names"),
        ("[said]", "[verbs]", "cannot be read as TOML"),
        ("[verbs]", "verbs", "cannot be read as TOML"),
        ("[endings]", 'kind = "list"\n[endings]', r"\[kind\] Input should be a valid dictionary"),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused(tmp_path: Path, good: str, bad: str, said: str) -> None:
    assert good in GOOD
    with pytest.raises(ArtefactError, match=said) as refused:
        made(tmp_path, GOOD.replace(good, bad, 1))
    assert "mend it there" in str(refused.value) or "mend or reinstall it" in str(refused.value)


def test_a_list_or_a_file_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD)
    with pytest.raises(ArtefactError, match=r"has no list \[nouns\]; add it, or ask for one of its own"):
        found.words("nouns")
    for ask in (found.ordered, found.stands_for):
        with pytest.raises(ArtefactError, match=r"has no `\w+`; ask for the form that it has"):
            ask("verbs")
    with pytest.raises(ArtefactError, match="has no `words`"):
        found.words("endings")
    with pytest.raises(ArtefactError, match="mend or reinstall it"):
        Lexicon(tmp_path / "none.toml")

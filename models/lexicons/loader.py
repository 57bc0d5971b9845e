"""Word lists as data: a file for each subject, one schema, and the one place that reads them.

``NAME.toml`` beside this module holds one table for each list. It says what the list is for, where its words come from
if somebody else wrote them down, and the words, in one of three forms::

    [read_verbs]                        # a set: sorted, so that a change is one line and no word stands there twice
    purpose = "Verbs with which a name says that its tool only looks."
    words = ["browse", "calculate"]

    [operation_parameters]              # an order: the first that fits counts
    purpose = "Parameters that take the name of an operation."
    source = "https://..."
    ordered = ["tool", "tool_name"]

    [stands_for]                        # words by the one that stands for them
    purpose = "Verbs of descriptions, by the verb of a name that says the like."
    groups.send = ["broadcast", "leak"]

Which words a list holds decides what is judged, so each is read once, when the module that uses it is imported, and
a file that is not as it should be stops the program there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from models.errors import ArtefactError

FOLDER = Path(__file__).resolve().parent

_Word = Annotated[str, Field(min_length=1)]
_Words = Annotated[list[_Word], Field(min_length=1)]


class WordList(BaseModel):
    """One list as it stands in its file: `words`, `ordered` or `groups`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    purpose: str = Field(pattern=r"^[A-Z].{10,}\.$")
    """A sentence: what the list is for."""
    source: str | None = None
    """Where the words come from; absent where they were chosen here."""
    words: _Words | None = None
    ordered: _Words | None = None
    groups: dict[_Word, _Words] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        forms = [form for form in (self.words, self.ordered, self.groups) if form is not None]
        if len(forms) != 1:
            raise ValueError("it needs exactly one of `words`, `ordered` and `groups`")
        groups = self.groups or {}
        if list(groups) != sorted(groups):
            raise ValueError("its groups are not sorted by their names")
        for run in (self.words or [], *groups.values()):
            for one, after in pairwise(run):
                if after < one:
                    raise ValueError(f"{after!r} stands behind {one!r}: sort the words")
        every = [*(self.words or []), *(self.ordered or []), *chain.from_iterable(groups.values())]
        if twice := sorted({word for word in every if every.count(word) > 1}):
            raise ValueError(f"it holds {', '.join(map(repr, twice))} twice")
        return self


_FILE = TypeAdapter(dict[str, WordList])


class Lexicon:
    """The word lists of one file.

    Parameters
    ----------
    path : of the file

    Raises
    ------
    ArtefactError
        The file is not there or breaks the schema; from the methods, it has no such list, or has it in another form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.lists = _FILE.validate_python(tomllib.loads(path.read_text("utf-8")))
        except ValidationError as error:
            problem = "; ".join(f"[{'.'.join(map(str, e['loc']))}] {e['msg']}" for e in error.errors())
            raise ArtefactError(f"{path} is no file of word lists: {problem}; mend it there") from error
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read as TOML ({error}); mend or reinstall it") from error

    def words(self, name: str) -> frozenset[str]:
        """The words of a list that is a set."""
        if (words := self._list(name).words) is None:
            raise self._other_form(name, "words")
        return frozenset(words)

    def ordered(self, name: str) -> tuple[str, ...]:
        """The words of a list in which an earlier one comes before a later one."""
        if (words := self._list(name).ordered) is None:
            raise self._other_form(name, "ordered")
        return tuple(words)

    def stands_for(self, name: str) -> Mapping[str, str]:
        """By each word of a list of groups the name of its group."""
        if (groups := self._list(name).groups) is None:
            raise self._other_form(name, "groups")
        return MappingProxyType({word: group for group, words in groups.items() for word in words})

    def _list(self, name: str) -> WordList:
        if name not in self.lists:
            raise ArtefactError(f"{self.path} has no list [{name}]; add it, or ask for one of its own")
        return self.lists[name]

    def _other_form(self, name: str, form: str) -> ArtefactError:
        return ArtefactError(f"[{name}] in {self.path} has no `{form}`; ask for the form that it has")


def any_of(words: Iterable[str]) -> str:
    """A pattern of regular expressions for any of these words, a longer one before its beginning.

    >>> any_of(["co", "com", "a.b"])
    '(?:a\\\\.b|com|co)'
    """
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))})"


@cache
def lexicon(name: str) -> Lexicon:
    """The word lists of `name`; see `Lexicon`.

    >>> "browse" in lexicon("verbs").words("read")
    True
    """
    return Lexicon(FOLDER / f"{name}.toml")

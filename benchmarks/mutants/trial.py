"""One mutant at a time: put into the running process, in a fork of its own, and shown to tests until one fails.

Everything is imported and collected once. A fork then takes the code of the functions that a mutant changes into the functions
that are there already, wherever they are held, and runs its tests. So a mutant costs what its tests cost. What runs at import
alone, as tables and constants, is out of reach: places are in functions.
"""

from __future__ import annotations

import functools
import gc
import os
import resource
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.mutants.suite import ROOT, TARGETS
from tests import builders

MAX_S = 120
"""Seconds of processor time after which a mutant counts as one that never ends."""
NOT_HELD = 3
"""How a fork ends in which nothing holds a function of the mutant: it ran at import alone."""


def functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of each function that a module or class defines, in order; those within functions belong to theirs."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_flags & 1:  # optimised: a function, not the body of a class
                yield constant
            else:
                yield from functions(constant)


def changes(path: str, before: str, after: str) -> list[tuple[types.CodeType, types.CodeType]]:
    """The functions that differ, as they are and as they become; none where anything outside functions differs."""
    name = str(ROOT / path)
    old, new = (compile(text, name, "exec", dont_inherit=True) for text in (before, after))
    pairs = list(zip(functions(old), functions(new), strict=True))
    changed = [(a, b) for a, b in pairs if meaning(a) != meaning(b)]
    if skeleton(old) != skeleton(new) or any(a.co_freevars != b.co_freevars for a, b in changed):
        return []
    return changed


def meaning(code: types.CodeType) -> object:
    """What a piece of code does, wherever its lines stand."""
    constants = tuple(
        meaning(one) if isinstance(one, types.CodeType) else (type(one), one) for one in code.co_consts
    )
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_flags, code.co_exceptiontable


def skeleton(code: types.CodeType) -> object:
    """What a module or class does when it is imported, the functions in it apart."""
    constants = tuple(
        (one.co_flags & 1 and one.co_qualname) or skeleton(one)
        if isinstance(one, types.CodeType)
        else (type(one), one)
        for one in code.co_consts
    )
    return code.co_code, constants, code.co_names


def put_in(changed: Iterable[tuple[types.CodeType, types.CodeType]]) -> int:
    """Give every function that has the old code the new one; how many had it. What is remembered is forgotten."""
    wanted = {(old.co_filename, old.co_qualname, old.co_firstlineno): new for old, new in changed}
    count = 0
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType):
            code = thing.__code__
            new = wanted.get((code.co_filename, code.co_qualname, code.co_firstlineno))
            if new is not None:
                thing.__code__ = new
                count += 1
        elif isinstance(thing, functools._lru_cache_wrapper) and _hangs_on_targets(thing.__module__):
            thing.cache_clear()
    return count


def _hangs_on_targets(module: str) -> bool:
    path = module.replace(".", "/")
    return (
        path.startswith(("tests/", *(target.removesuffix(".py") for target in TARGETS)))
        and path != "tests/builders"
    )


class Trials:
    """Shows mutants to tests, and tells of each how it ended."""

    def __init__(self, work: Callable[[Trials], None]) -> None:
        self.work = work
        self.items: dict[str, pytest.Item] = {}
        self._report = -1

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of the tests: the work, over forks of this process."""
        self.items = {item.nodeid: item for item in session.items}
        builders.shipped_model()  # once, not in every fork
        gc.collect()
        self.work(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """End a fork with its first failure."""
        if report.failed:
            os.write(self._report, report.nodeid.encode())
            os._exit(1)

    def outcome(
        self, changed: Sequence[tuple[types.CodeType, types.CodeType]], tests: Sequence[str]
    ) -> tuple[str, str]:
        """How a mutant ends, and the test that killed it: ``killed``, ``endless``, ``survived``, ``unreached``."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            self._report = writing
            self._child(changed, [self.items[test] for test in tests if test in self.items])
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            killer = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return "endless", ""
        ends = {0: "survived", NOT_HELD: "unreached"}
        return ends.get(os.WEXITSTATUS(status), "killed"), killer

    def _child(
        self, changed: Sequence[tuple[types.CodeType, types.CodeType]], items: Sequence[pytest.Item]
    ) -> None:
        """Run `items` with the change, and end this process."""
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        if items:
            plugins = items[0].config.pluginmanager
            plugins.unregister(plugins.getplugin("terminalreporter"))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_S, MAX_S))
        try:
            if changed and not put_in(changed):
                os._exit(NOT_HELD)
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException:
            os._exit(2)
        os._exit(0)


def source_of(path: str) -> str:
    """The text of a module."""
    return (ROOT / Path(path)).read_text(encoding="utf-8")

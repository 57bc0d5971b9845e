"""Who works for whom among a partition's open sessions: a root, and the sub-agents below it."""

from __future__ import annotations

from models.session import Session, Tombstone
from stream.core.draft import Draft
from stream.core.partition import state_key

MAX_ANCESTORS = 8


class Trees:
    """The trees of a draft's open sessions, those born in its batch included."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._held = draft.base.trees
        self._born: dict[str, dict[str, None]] = {}
        self._below: dict[str, list[str]] = {}

    def changed(self) -> None:
        """Forget who works for whom: a session began, ended, or named another parent."""
        self._below.clear()

    def bear(self, tree: str, key: str) -> None:
        """Note that a sub-agent of the root under `tree` was born."""
        self._born.setdefault(tree, {})[key] = None

    def sub_agents(self, tree: str) -> list[str]:
        """Keys of the tree's open sessions save its root, in the partition or born in this batch, sorted."""
        keys = {*self._held.get(tree, ()), *self._born.get(tree, ())}
        return sorted(key for key in keys if isinstance(self._draft.state(key), Session))

    def may_hold(self, tree: str, n: int) -> bool:
        """Whether the tree may have `n` sub-agents; no state is read for it."""
        return len(self._held.get(tree, ())) + len(self._born.get(tree, ())) >= n

    def descendants(self, key: str, session: Session) -> list[str]:
        """Keys of the open sessions that work for `session`, nearest first; kept until a tree changes."""
        tree = (
            key if session.session == session.root else state_key(session.tenant, session.root, session.root)
        )
        if tree not in self._held and tree not in self._born:
            return []
        if key not in self._below:
            self._below[key] = self._find_below(tree, session)
        return self._below[key]

    def _find_below(self, tree: str, session: Session) -> list[str]:
        # A root works for nobody, whatever it says.
        members = {key: self._draft.session(key) for key in self.sub_agents(tree)}
        parents: dict[str, str] = {}
        for member in members.values():
            self._add_parents(member, parents)
        open_ones = {member.session: key for key, member in members.items()}
        below: list[str] = []
        frontier, seen = {session.session}, {session.session}
        while frontier:
            nearest = {name for name, parent in parents.items() if parent in frontier} - seen
            keys = [open_ones[name] for name in nearest if name in open_ones]
            below += sorted(keys, key=lambda key: members[key].born)
            seen |= nearest
            frontier = nearest
        if session.session == session.root:
            # The root is above every member, whomever it names: see `above`.
            below += sorted(members.keys() - set(below), key=lambda key: members[key].born)
        return below

    def _add_parents(self, member: Session, parents: dict[str, str]) -> None:
        """Add for whom a session works, and these, as far as they are over: the next open one adds its own."""
        name, parent = member.session, member.parent
        for _ in range(MAX_ANCESTORS):
            if parent is None or name in parents:
                return
            parents[name] = parent
            state = self._draft.state(state_key(member.tenant, member.root, parent))
            if not isinstance(state, Tombstone):
                return
            name, parent = parent, state.parent

    def above(self, session: Session) -> list[tuple[str, Session | Tombstone]]:
        """Keys and states of the sessions that `session` works for, nearest first, those that are over too.

        The root of its tree is among them, whomever it names: a parent that nobody knows, or a long chain, frees no session of it.
        """
        above: list[tuple[str, Session | Tombstone]] = []
        parent, seen = session.parent, {session.session}
        while parent is not None and parent not in seen and len(above) < MAX_ANCESTORS:
            seen.add(parent)
            key = state_key(session.tenant, session.root, parent)
            state = self._draft.state(key)
            if state is None:
                break
            above.append((key, state))
            parent = state.parent
        if session.root not in seen:
            key = state_key(session.tenant, session.root, session.root)
            if (state := self._draft.state(key)) is not None:
                above.append((key, state))
        return above

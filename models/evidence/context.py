"""What is known before a call: the session so far, what it may use, and those that it works for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from models.heads.readers import Readers
from models.session import Session
from models.text.index import Index
from models.tools.catalogue import Catalogue
from models.tools.facts import SAYS_NOTHING, PolicySays


class CallContext(msgspec.Struct, frozen=True):
    """What is known before a call.

    Attributes
    ----------
    session : state before the call is folded in
    catalogue : tools offered; None if the session declared none
    ancestors : parent first; their intents narrow this one's
    provenance, ancestor_provenance : indexes of where values may come from, of the session and of its ancestors
    key : of the fingerprints
    readers : of the release that judges
    policy_says : of tools, where there is no catalogue, which has it
    """

    session: Session
    catalogue: Catalogue | None
    ancestors: Sequence[Session]
    provenance: Index
    ancestor_provenance: Sequence[Index]
    key: bytes
    readers: Readers
    policy_says: PolicySays = SAYS_NOTHING

    @property
    def policy_on_tools(self) -> PolicySays:
        """What the policy says of tools: the catalogue's copy, where there is one."""
        return self.catalogue.policy_says if self.catalogue is not None else self.policy_says

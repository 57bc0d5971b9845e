"""What it means that no decision comes in time: one word for every call, or one for each class of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from driftline_client.contract import Action

OnSilence = Literal["allow", "deny", "raise"]
"""What it means when no decision comes in time."""


def on_silence_of(value: Any) -> OnSilence:
    """`value`, if it says what silence means; a misspelt one would let a call run."""
    if value not in get_args(OnSilence):
        raise ValueError(f"on_silence is {value!r}; expected allow, deny, raise or ByClass(...)")
    found: OnSilence = value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ByClass:
    """Silence by what a call can do and how sensitive its tool is: open for reads, closed for what acts on sensitive data.

    A tool that nobody has said anything of acts, and is sensitive.

    Parameters
    ----------
    tools : mapping of str to {"read", "write", "execute"}
        What a tool can do, by its name; ``tools`` of Driftline's policy has the same form.
    sensitive : mapping of str to bool
        Whether a tool handles sensitive data, by its name; ``sensitive`` of the policy has the same form.
    hints : bool
        Whether ``readOnlyHint`` of a declared tool is believed. Only where its servers are yours: whoever runs the server sets it.
    read, act, sensitive_read, sensitive_act : {"allow", "deny", "raise"}
        What silence means for each class.

    Raises
    ------
    ValueError
        A word that is none of those.
    """

    tools: Mapping[str, Action] = field(default_factory=dict)
    sensitive: Mapping[str, bool] = field(default_factory=dict)
    hints: bool = False
    read: OnSilence = "allow"
    act: OnSilence = "allow"
    sensitive_read: OnSilence = "allow"
    sensitive_act: OnSilence = "deny"

    def __post_init__(self) -> None:
        for word in (self.read, self.act, self.sensitive_read, self.sensitive_act):
            on_silence_of(word)
        for name, action in self.tools.items():
            if action not in get_args(Action):
                raise ValueError(f"tools: {name} is {action!r}; expected read, write or execute")
        for name, sensitive in self.sensitive.items():
            if not isinstance(sensitive, bool):
                raise ValueError(f"sensitive: {name} is {sensitive!r}; expected True or False")

    def means(self, tool: str, *, hinted: bool) -> OnSilence:
        """What silence on a call of `tool` means; `hinted`: all that declared it said that it only reads."""
        reads = self.tools[tool] == "read" if tool in self.tools else self.hints and hinted
        if self.sensitive.get(tool, True):
            return self.sensitive_read if reads else self.sensitive_act
        return self.read if reads else self.act


Posture = OnSilence | ByClass


def posture_of(value: Any) -> Posture:
    """`value`, if it says what silence means, for all calls or by class."""
    return value if isinstance(value, ByClass) else on_silence_of(value)


def meaning_of(posture: Posture, tool: str, *, hinted: bool) -> OnSilence:
    """What silence on a call of `tool` means; `hinted` as of `ByClass.means`."""
    return posture.means(tool, hinted=hinted) if isinstance(posture, ByClass) else posture

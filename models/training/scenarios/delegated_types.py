"""What the tables of delegated tasks are made of."""

from __future__ import annotations

from typing import Any, NamedTuple


class Step(NamedTuple):
    """A call and its result; both are templates."""

    tool: str
    args: dict[str, Any]
    result: Any


class Act(NamedTuple):
    """A kind of act: how an intent hands it over, how a text asks for it, and the call that does it.

    ``ask``, ``do`` (imperative) and ``tell`` (declarative) hold alternatives split by `` | ``. ``needs`` are look-ups that the act takes a value from: slots
    that end in 7, which no text spells out.
    """

    kind: str
    ask: str
    title: str
    tool: str
    args: dict[str, Any]
    do: str
    tell: str
    result: Any
    needs: tuple[Step, ...] = ()


class Source(NamedTuple):
    """Where a text may stand: how an intent names it, and the calls that read it (the last carries ``{doc}``)."""

    nouns: str
    steps: list[Step]


class Credential(NamedTuple):
    """What the user must say, and the agent call first, for any other call to work."""

    say: str
    steps: list[Step]


class Flow(NamedTuple):
    """Ordinary work: intents, and the calls that do it; ``{aside}`` is a demand made of somebody else."""

    intents: str
    steps: list[Step]


class Catalogue(NamedTuple):
    """All that is done with one tool catalogue; ``tools`` is empty where a recorded file has them."""

    acts: list[Act]
    sources: list[Source]
    lookups: list[Step]
    credential: Credential | None = None
    tools: tuple[dict[str, Any], ...] = ()
    flows: tuple[Flow, ...] = ()


def tool(name: str, description: str, /, **parameters: str) -> dict[str, Any]:
    """A tool with its JSON schema; a parameter is ``type: description``, optional with a leading ``?``.

    >>> tool("ping", "Ping a host.", host="string: Name.")["parameters"]["required"]
    ['host']
    """
    properties: dict[str, Any] = {}
    for key, text in parameters.items():
        kind, _, about = text.lstrip("?").partition(": ")
        schema: dict[str, Any] = {"type": kind, "description": about}
        if kind == "array":
            schema["items"] = {"type": "string"}
        properties[key] = schema
    required = [key for key, text in parameters.items() if not text.startswith("?")]
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }

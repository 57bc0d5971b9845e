"""Secrets where only a reference to one should stand: known by shapes that their issuers mark, and told by a digest.

Only what a machine drew at random has such a shape, so a digest gives none of it away. Passwords and other short
words are not looked for: their digest could be guessed.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from models.lexicons.loader import any_of, lexicon

DIGEST = "secret-sha256:"
"""Beginning of what stands in a secret's place; the SHA-256 of its UTF-8 bytes follows, in lower-case hex."""
LEAST = 20
"""Characters behind a marked beginning: fewer are part of a name."""

_LISTS = lexicon("secrets")
_PLAIN = any_of(_LISTS.words("begin_plain"))
_BROKEN = any_of(_LISTS.words("begin_broken"))
_BASE64 = any_of(_LISTS.words("begin_base64"))
_PRIVATE_KEY = r"[A-Z\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----"
# Headers of RFC 1421, lines of base64, an end: nothing else is of a key. What stands behind its first line may be a command.
_PEM = (
    r"(?: \s* (?: Proc-Type:\s*4,ENCRYPTED | DEK-Info:\s*[A-Z0-9-]{1,32},[0-9A-Fa-f]{1,64} ) )*"
    r"(?: (?:\s|\\n)* [A-Za-z0-9+/=]{60,} )*"
    rf"(?: (?:\s|\\n)* [A-Za-z0-9+/=]{{0,75}} (?:\s|\\n)* -----END\ {_PRIVATE_KEY} )?"
)
# Of a run of characters only one start looks to its end, so that the time grows with the text alone.
SHAPES = re.compile(
    rf"""
      -----BEGIN\ {_PRIVATE_KEY} {_PEM}
    | (?<![\w-]) eyJ[\w-]{{8,}} (?:\.[\w-]{{8,}}){{2}} (?:\.[\w-]+)*          # JSON Web Token, encrypted or not
    | (?<![\w-]) sk-(?!ant-) [\w-]*                                           # OpenAI, and who took its form
        (?: [A-Za-z0-9]{{32}} | [0-9][A-Za-z0-9]{{19}} | [A-Za-z0-9]{{19}}[0-9] ) [\w-]*
    | (?<![A-Za-z0-9]) {_PLAIN} [A-Za-z0-9]{{{LEAST},}} [\w-]*
    | (?<![A-Za-z0-9]) {_BROKEN} [\w.-]{{{LEAST},}} (?<!\.)
    | (?<![A-Za-z0-9+/]) {_BASE64} [A-Za-z0-9+/=]{{{LEAST},}}
    | (?<![\w.-]) SG\.[\w-]{{22}}\.[\w-]{{43}}                                # SendGrid
    | (?<![\w./-]) s\.[A-Za-z0-9]{{24}} (?:\.[A-Za-z0-9]{{5}})? (?![\w./-])   # Vault before 1.10
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_AWS_KEY = re.compile(r"(?<![\w+/=-])(?![a-z0-9]{2,}/)[A-Za-z0-9+/]{40}(?![\w+/=-])", re.ASCII)
"""Secret keys of AWS bear no mark: forty characters of base64, that are no path."""
_DRAWN = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])")


def digested(text: str, about: str = "") -> str:
    """`text` with a digest in the place of each secret.

    Forty characters of base64 are a secret key of AWS where `about` names AWS, or one of them is none of an identifier.

    >>> digested("lease/17"), digested("Bearer " + "ghp_" + "a1" * 18)[:32]
    ('lease/17', 'Bearer secret-sha256:3e74e06519a')
    """
    if len(text) <= LEAST:
        return text
    text = SHAPES.sub(lambda found: _digest(found[0]), text)
    of_aws = "aws" in about.lower()
    return _AWS_KEY.sub(lambda found: _digest(found[0]) if _is_drawn(found[0], of_aws) else found[0], text)


def _digest(secret: str) -> str:
    return DIGEST + hashlib.sha256(secret.encode(errors="replace")).hexdigest()


CLIENT = Path(__file__).parents[2] / "client" / "driftline_client" / "secrets.json"
"""What Driftline's client, which knows nothing of this package, takes out before anything leaves a process."""


def for_the_client() -> str:
    """The shapes as the client reads them."""
    return json.dumps({"pattern": SHAPES.pattern}, indent=1) + "\n"


def _is_drawn(key: str, of_aws: bool) -> bool:
    return (of_aws or "/" in key or "+" in key) and _DRAWN.match(key) is not None


if __name__ == "__main__":
    CLIENT.write_text(for_the_client(), encoding="utf-8")

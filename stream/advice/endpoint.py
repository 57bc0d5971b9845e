"""An OpenAI-compatible endpoint, asked for one word: whatever it does, an answer comes in time or none does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from models.errors import ConfigError
from stream.advice.question import INSTRUCTIONS, Answer, answer
from stream.tls import is_loopback

MAX_REPLY = 256 * 1024
"""Bytes of a reply that are read."""
ANSWER_TOKENS = 64
"""Tokens that an answer may take."""


def tokens_of(question: str) -> int:
    """Tokens that a question and its answer take at most: no tokenizer makes more of a text than it has bytes."""
    return len(INSTRUCTIONS.encode()) + len(question.encode()) + ANSWER_TOKENS


class Endpoint:
    """Where questions go.

    Parameters
    ----------
    url : such as ``https://models.example.com/v1``; plain http to this machine alone
    model : its name there
    token_file : holds a bearer token; read at each batch, so that it may rotate
    timeout_s : after which a question has no answer

    Raises
    ------
    ConfigError
        The address is no http(s) one, or would send sessions in the clear.
    """

    def __init__(self, url: str, model: str, token_file: Path | None, timeout_s: float) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        # The address is not told: it may hold a secret, which is why it is refused.
        if host is None or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query:
            raise ConfigError(
                "--endpoint: expected an address such as https://models.example.com/v1, without a name, password or query"
            )
        if parts.scheme == "http" and not is_loopback(host):
            raise ConfigError("--endpoint: sessions would be sent in the clear; give an https address")
        self._url, self._model = f"{url.rstrip('/')}/chat/completions", model
        self._token_file, self._timeout_s = token_file, timeout_s
        self._headers()  # a file that is missing is told at the start

    async def ask(self, questions: Sequence[str]) -> list[Answer | None]:
        """The answer to each question, all asked at once; None where there is none in time, or it is another text."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers()) as client:
            return await asyncio.gather(*(self._one(client, question) for question in questions))

    async def _one(self, client: aiohttp.ClientSession, question: str) -> Answer | None:
        body = {
            "model": self._model,
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": question},
            ],
        }
        try:
            # No redirect is followed: it would take session and token elsewhere.
            async with client.post(self._url, json=body, allow_redirects=False) as reply:
                if reply.status != 200:
                    return None
                raw = await reply.content.read(MAX_REPLY + 1)
                while len(raw) <= MAX_REPLY and (more := await reply.content.read(MAX_REPLY)):
                    raw += more
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None
        return _said(raw) if len(raw) <= MAX_REPLY else None

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"}
        except OSError as error:
            raise ConfigError(f"--token-file {self._token_file} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"--token-file {self._token_file} cannot be read: no UTF-8 text") from error


def _said(raw: bytes) -> Answer | None:
    try:
        told: Any = json.loads(raw)
        return answer(told["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None

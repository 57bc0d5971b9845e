"""Mail addresses and bank accounts, each in one spelling: those that a text names, and those that a value is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.text.addresses import spelled_out
from models.text.tokens import canonical

MAX_VALUE = 512
"""Characters of a value that is an address, or a list of them: a longer one is a text."""
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_ADDRESS = rf"([^\W_][\w.-]{{0,63}})(?:\+[\w.+-]{{0,63}})?@({_LABEL}(?:\.{_LABEL}){{1,8}})"
_IN_TEXT = re.compile(rf"(?<![\w.+-]){_ADDRESS}")
_ALONE = re.compile(rf"(?:[^<>]{{0,128}}<)?\s*(?:mailto:)?{_ADDRESS}\s*>?")
_BETWEEN = re.compile(r"[,;]")
_LEAST_IBAN, _MOST_IBAN = 15, 34
_IBAN_IN_TEXT = re.compile(r"(?<![^\W_])[a-z]{2}[0-9]{2}(?:[\s-]{0,2}[a-z0-9]){11,30}")
_IBAN_ALONE = re.compile(r"[a-z]{2}[0-9]{2}[a-z0-9]{11,30}")
_APART = re.compile(r"[\s-]+")


def mails_in(text: str) -> set[str]:
    """The mail addresses that `text` names: without tags, and also without a last label that may be the next sentence's first word.

    >>> sorted(mails_in("To Bob <BOB+x@example.com>, ann@b.co.uk."))
    ['ann@b.co', 'ann@b.co.uk', 'bob@example.com']
    """
    if "@" not in (plain := canonical(text)):
        return set()
    return {each for found in _IN_TEXT.finditer(spelled_out(plain)) for each in _spellings(found)}


def _spellings(found: re.Match[str]) -> Iterator[str]:
    yield _mail(found[1], found[2])
    if found[2].count(".") > 1:
        yield _mail(found[1], found[2].rpartition(".")[0])


def _mail(local: str, host: str) -> str:
    if host in ("gmail.com", "googlemail.com"):  # one host, which passes over dots
        return f"{local.replace('.', '')}@gmail.com"
    return f"{local}@{host}"


def mails_of(value: str) -> set[str]:
    """The mail addresses that a value consists of, with names before them or without; none where it is anything else.

    >>> sorted(mails_of("Bob <bob@example.com>; mailto:Ann@b.co")), mails_of("https://x.com/@bob"), mails_of("git@host.com:a/b")
    (['ann@b.co', 'bob@example.com'], set(), set())
    """
    if len(value) > MAX_VALUE or "@" not in (plain := canonical(value)):
        return set()
    parts = [part.strip() for part in _BETWEEN.split(spelled_out(plain)) if part.strip()]
    found = [_ALONE.fullmatch(part) for part in parts]
    return {_mail(one[1], one[2]) for one in found if one is not None} if all(found) else set()


def accounts_in(text: str) -> set[str]:
    """The IBANs that `text` names and whose check digits are right (ISO 13616, ISO 7064), whatever follows them.

    >>> accounts_in("Pay 50 to DE89 3704 0044 0532 0130 00 by May, order RR123456789DE")
    {'de89370400440532013000'}
    """
    runs = (_APART.sub("", found[0]) for found in _IBAN_IN_TEXT.finditer(canonical(text)))
    return {account for run in runs for account in _checked(run)}


def accounts_of(value: str) -> set[str]:
    """The account that a value is, by its form as an IBAN; one whose check digits are right, whatever follows it. None where it is anything else.

    >>> accounts_of("DE89-3704-0044-0532-0130-01"), accounts_of("notes/dc20240115.md")
    ({'de89370400440532013001'}, set())
    """
    run = _APART.sub("", canonical(value)) if len(value) <= MAX_VALUE else ""
    return (_checked(run) or {run}) if _IBAN_ALONE.fullmatch(run) else set()


def _checked(run: str) -> set[str]:
    """Beginnings of `run` that are IBANs with the right check digits: 1 modulo 97, letters as numbers from 10 on."""
    beginnings = (run[:n] for n in range(_LEAST_IBAN, min(len(run), _MOST_IBAN) + 1))
    return {
        iban
        for iban in beginnings
        if int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1
    }

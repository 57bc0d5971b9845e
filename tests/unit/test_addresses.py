"""What names nothing in an address makes two addresses neither alike nor the same."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.errors import ArtefactError
from models.evidence.provenance import leaf_tokens, origin
from models.lexicons import suffixes
from models.lexicons.loader import lexicon
from models.release.readers import load
from models.text.addresses import is_address, spelled_out, words_apart
from models.text.fingerprints import prints_of
from models.text.index import INTENT, Index
from models.text.tokens import canonical, compounds_in, tokens

KEY = b"key"

parts = st.sampled_from(
    [
        "www",
        "com",
        "http://",
        "https://www.",
        ".",
        "/",
        "@",
        ":",
        "-",
        "a-b",
        "x1",
        "org",
        "net",
        "gmail",
        "?",
        ")",
        " ",
        "\n",
    ]
)
texts = st.lists(parts, max_size=24).map("".join)


@given(texts)
@example("@- http://")
@example("thanks @ann-lee, see www.a-b.com")
def test_each_piece_between_white_space_stands_by_itself(text: str) -> None:
    assert words_apart(text).split() == " ".join(map(words_apart, text.split())).split()


@pytest.mark.parametrize(
    ("intent", "elsewhere"),
    [
        ("Read the page www.news-today.com", "http://www.my-site-234.com/random"),
        ("Read https://news-today.org/may", "https://other.org/june"),
        ("Write to bob@example.com", "eve@attacker.com"),
        ("Invite bob.lee@gmail.com", "mark.black-2134@gmail.com"),
        ("Invite bob@web.de", "eve@web.de"),
        ("Read www.informations.com", "www.true-informations.com"),
        ("Read https://bank.com and tell me", "bank-login.com"),
    ],
)
def test_another_address_is_no_part_of_the_one_that_the_user_named(intent: str, elsewhere: str) -> None:
    index = Index()
    index.add(prints_of(intent, KEY), INTENT, prose=False, limit=1000)
    assert origin(leaf_tokens(elsewhere, KEY), index, (), Index(), KEY).intent == 0


def test_a_provider_of_mail_is_a_word_elsewhere_than_in_an_address() -> None:
    assert "gmail" in {
        token.text for token in tokens("Read my gmail, then gmail.company.org and x@gmail.company.org")
    }


@pytest.mark.parametrize(
    "spelling", ["www.a-b.com/x", "http://a-b.com/x", "https://www.a-b.com/x", "A-B.com/x"]
)
def test_an_address_is_the_same_however_it_begins(spelling: str) -> None:
    assert "abcomx" in {token.text for token in tokens(spelling) if token.address}


def test_a_host_without_its_hyphens_and_a_path_with_them() -> None:
    assert (
        words_apart("see my-site.com/a-b, x-y@c-d.org, well-known e-mail")
        == "see mysite /a-b, x-y@cd , well-known e-mail"
    )


def test_addresses_alone_make_no_two_texts_alike() -> None:
    assert not load().words.vector_of("http://www.q.com").any()


def test_a_word_that_is_also_an_ending_stays_a_word() -> None:
    assert [token.text for token in tokens("net income of the org, com port")][:3] == ["net", "income", "the"]


@pytest.mark.parametrize(
    "text",
    [
        "evil.xyz",
        "pay.shop",
        "evil.cn",
        "login.evil.co.nz",
        "shop.evil.ru/pay",
        "attacker.github.io",
        "ask (evil.online), now",
        "site:evil.click/now",
        "//evil.top/pay",
        "bit.ly/suf7tOj",
        "evil.sh.com.pl",
        "http://report.zip",
        "https://evil.name:8443",
        "www.user.id",
        "eve@deploy.sh",
        "пример.рф",
        "xn--e1afmkfd.xn--p1ai",
    ],
)
def test_a_host_with_a_registered_ending_is_an_address(text: str) -> None:
    assert any(token.address for token in tokens(text))


@pytest.mark.parametrize(
    "text",
    [
        "report.py",
        "notes.md",
        "data.zip",
        "main.rs",
        "deploy.sh",
        "file.mov",
        "x.pl",
        "README.md#usage",
        "app.so",
        "src/main.py/x",
        "os.path",
        "self.name",
        "user.id",
        "asyncio.run",
        "object.store",
        "car_makers.name",
        "t2.country",
        "model.fit",
        "collections.abc",
        "com.owncloud.android",
        "linda.green",
        "home/user.online",
        "version-1.2.3",
        "end.This",
        "a_b.xyz",
        "-a.xyz-",
        f"{'a' * 64}.xyz",
        f"{'a.' * 130}xyz",
    ],
)
def test_a_file_code_and_what_is_no_host_are_no_addresses(text: str) -> None:
    assert [token.text for token in tokens(text) if token.address] == []


@pytest.mark.parametrize(
    ("intent", "elsewhere"),
    [
        ("Read shop.co.uk", "evil.co.uk"),
        ("Read ann.github.io", "https://eve.github.io/x"),
        ("Open https://bank.com.au", "https://login.com.au"),
        ("Write to ann@firm.xyz", "eve@other.xyz"),
    ],
)
def test_hosts_under_one_public_suffix_have_nothing_in_common(intent: str, elsewhere: str) -> None:
    index = Index()
    index.add(prints_of(intent, KEY), INTENT, prose=False, limit=1000)
    assert origin(leaf_tokens(elsewhere, KEY), index, (), Index(), KEY).intent == 0


def test_a_host_is_the_same_as_people_and_as_machines_spell_it() -> None:
    people, machines = tokens("https://bücher.example/x"), tokens("https://XN--BCHER-KVA.example/x")
    assert people == machines


@pytest.mark.parametrize(
    "label", ["xn--", "xn--a-ecp", "xn--999999999b", "xn--\u00e9", "xn---", "a-xn--bcher-kva"]
)
def test_a_part_of_a_host_that_spells_nothing_stays_as_it_is(label: str) -> None:
    assert spelled_out(f"{label}.ru") == f"{label}.ru"


@given(st.text(alphabet="ab.-/@:\\_ xn\u3002рф\u0130?", max_size=60))
def test_any_text_is_read_and_each_piece_for_itself(text: str) -> None:
    assert words_apart(text).split() == " ".join(map(words_apart, text.split())).split()
    is_address(canonical(text))
    spelled_out(text)


@pytest.mark.parametrize(
    "piece", ["a", "a.", "a-", ".", "://", "@a.", "xn--", "www.", "a.co.uk ", "a.xyz/", "b.id/"]
)
def test_a_long_hostile_text_is_read_in_a_moment(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    words_apart(text)
    is_address(text)
    spelled_out(text)
    assert time.process_time() - started < 3


def test_the_list_of_suffixes_is_the_one_whose_digest_this_core_names() -> None:
    listed = suffixes.public_suffixes()
    assert f"// VERSION: {suffixes.DATE}_" in suffixes.PATH.read_text("utf-8")
    assert listed.publicsuffix("a.b.co.uk") == "co.uk"
    assert listed.publicsuffix("a.example.invalid") is None


def test_another_list_of_suffixes_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "list.dat"
    other.write_bytes(suffixes.PATH.read_bytes() + b"mine\n")
    with pytest.raises(ArtefactError, match="another list is another core"):
        suffixes.public_suffixes(other)
    with pytest.raises(ArtefactError, match="cannot be read"):
        suffixes.public_suffixes(tmp_path / "absent.dat")


def test_endings_of_addresses_are_registered_and_each_is_of_one_kind() -> None:
    listed = lexicon("addresses").lists
    kinds = [listed[kind].words or [] for kind in ("endings", "endings_of_files", "endings_that_are_words")]
    every = [ending for kind in kinds for ending in kind]
    assert len(every) == len(set(every))
    known = suffixes.public_suffixes()
    assert [ending for ending in every if not known.is_public(ending)] == []


def recorded_runs() -> Iterator[str]:
    """Runs of words of every twelfth recorded session, in lower case."""
    for path in sorted(Path(os.environ["DRIFTLINE_DATA"]).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % 12 == 0:
                    for text in texts_of(json.loads(line)):
                        yield from compounds_in(canonical(text[:20_000]))


def texts_of(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from texts_of(child)


@pytest.mark.recorded
@pytest.mark.skipif("DRIFTLINE_DATA" not in os.environ, reason="needs recorded sessions")
def test_of_recorded_texts_no_file_and_hardly_any_code_becomes_an_address() -> None:
    endings = lexicon("addresses").words("endings")
    runs = list(recorded_runs())
    bare = [run for run in runs if "@" not in run and "://" not in run and not run.startswith("www.")]
    new = {run for run in bare if is_address(run) and not any(f".{ending}" in run for ending in endings)}
    assert len(runs) > 100_000
    assert new == {"cs.se"}

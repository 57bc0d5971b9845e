"""Where a value came from, whatever its clothes: formats, encodings, pieces, joins."""

from __future__ import annotations

import base64
import codecs
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import Tool
from models.evidence.provenance import NOT_AIMED, Aimed, Origin, _by_pieces, leaf_tokens, origin
from models.release.readers import load
from models.text.documents import MAX_CHARS, MAX_DEPTH, MAX_LEAVES, leaves
from models.text.fingerprints import GRAM, WINNOW, apart, fingerprint, prints_of, prints_of_pieces, winnowed
from models.text.index import ANCHORED, DESCRIBED, INTENT, MAX_SOURCE, PROSE, SEVERAL, Index
from models.text.memo import MAX_MEMO, Memo
from models.text.stems import STOP, stem, stem_prints, stems_of_pieces
from models.text.tokens import compounds_in, number, tokens
from models.tools.catalogue import NO_OWN_WORDS, Catalogue
from stream.core.intents import names_in

KEY = b"test-key"
READERS = load()
ADDRESS = "Maria.Keller@Example.com"
IBAN = "CH93 0076 2011 6238 5295 7"
FIXED = settings(max_examples=200, derandomize=True, deadline=None, database=None)


def known(text: str, source: int = INTENT, *, prose: bool = False) -> Index:
    index = Index()
    index.add(prints_of(text, KEY), source, prose=prose, limit=6000)
    return index


def shares(argument: str, index: Index, catalogue: Index | None = None) -> tuple[float, float, float]:
    """Shares of `argument` that intent, results and nothing explain."""
    found = origin(leaf_tokens(argument, KEY), index, [], catalogue or Index(), KEY)
    return found.intent / found.total, found.results / found.total, found.nowhere / found.total


WIDE = "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in "account 4411 at example")
SAME = {
    "itself": (ADDRESS, ADDRESS),
    "another case": (ADDRESS, ADDRESS.upper()),
    "more spacing": ("the quarterly report", "the   quarterly\n\treport"),
    "grouped number": ("pay 1,234,567.50 now", "1234567.5"),
    "number without zeros": ("pay 100", "100.00"),
    "plus sign": ("pay 250.75", "+250.750"),
    "IBAN without spaces": (IBAN, IBAN.replace(" ", "")),
    "IBAN with dashes": (IBAN, IBAN.replace(" ", "-")),
    "URL without its scheme": ("https://www.example.com/reports/q3", "example.com/reports/q3"),
    "URL with a slash": ("https://example.com/reports/q3", "https://example.com/reports/q3/"),
    "base64": (ADDRESS, base64.b64encode(ADDRESS.encode()).decode()),
    "url-safe base64 without padding": (
        ADDRESS,
        base64.urlsafe_b64encode(ADDRESS.encode()).decode().rstrip("="),
    ),
    "base64 twice": (ADDRESS, base64.b64encode(base64.b64encode(ADDRESS.encode())).decode()),
    "percent": (ADDRESS, "".join(f"%{c:02X}" for c in ADDRESS.encode())),
    "hex": (ADDRESS, ADDRESS.encode().hex()),
    "references of HTML": (ADDRESS, "".join(f"&#{ord(c)};" for c in ADDRESS)),
    "escapes": (ADDRESS, "".join(rf"\u{ord(c):04x}" for c in ADDRESS)),
    "substring": ("key AKIA4QX7ZP2LM8RT5WVB9", "4QX7ZP2LM8RT5WV"),
    "concatenation": ("user keller at host intranet", "kellerintranet"),
    "full width": ("account 4411 at example", WIDE),
    "a date in words": ("the meeting on May 3rd, 2024", "2024-05-03"),
    "a day of some year": ("from the 3rd of May on", "May 3"),
    "a date, day first": ("due 2024-05-03", "03.05.2024"),
    "a time by halves of the day": ("tea at 2:15 p.m. sharp", "14:15"),
    "an hour": ("call me at 9am", "09:00"),
    "invisible characters": ("account example", "acc\u200bount exam\u00adple"),
    "composed and decomposed": ("café régional", "cafe\u0301 re\u0301gional"),
}
ENCODED = {
    "base64",
    "url-safe base64 without padding",
    "base64 twice",
    "hex",
    "percent",
    "references of HTML",
    "escapes",
}


@pytest.mark.parametrize("name", SAME)
def test_a_value_is_found_again_in_other_clothes(name: str) -> None:
    said, argument = SAME[name]
    intended, _, nowhere = shares(argument, known(said))
    # An encoded value counts beside the letters that encode it, which nothing carries.
    assert intended >= (0.15 if name in ENCODED else 0.8)
    assert nowhere <= (0.85 if name in ENCODED else 0.2)
    assert shares(argument, known("quite unlike any"))[0] == 0


@pytest.mark.parametrize("name", SAME)
def test_a_value_that_only_a_result_carries_names_its_call(name: str) -> None:
    said, argument = SAME[name]
    found = origin(leaf_tokens(argument, KEY), known(said, 1 + 7), [], Index(), KEY)
    assert found.source == 7
    assert found.intent == 0


@pytest.mark.parametrize(
    "turned", [ADDRESS[::-1], codecs.encode(ADDRESS, "rot13")], ids=["from its end", "ROT13"]
)
def test_a_result_may_carry_a_value_turned_and_the_user_never_does(turned: str) -> None:
    found = origin(leaf_tokens(ADDRESS, KEY), known(turned, 1 + 7, prose=True), [], Index(), KEY)
    assert (found.source, found.intent) == (7, 0)
    assert found.results >= 0.8 * found.total
    assert shares(ADDRESS, known(turned)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    "text", ["&#" + "1" * 5000 + ";", "&#xffffff;", "&#0;", r"\ud800 \uffff", "a&#;", r"\u12"]
)
def test_a_hostile_reference_is_read_as_it_stands(text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    for said in (text, f"{text} {ADDRESS}", encoded):
        assert prints_of(said, KEY)
        leaf_tokens(said, KEY)


def test_a_value_that_nothing_carries_comes_from_nowhere() -> None:
    assert shares("desk@evil.test", known(ADDRESS)) == (0.0, 0.0, 1.0)


def test_a_value_of_the_catalogue_is_told_apart_from_the_intent() -> None:
    tools = [Tool(name="set_mode", parameters={"properties": {"mode": {"enum": ["hibernation"]}}})]
    found = origin(
        leaf_tokens("hibernation", KEY),
        known("read notes"),
        [],
        Catalogue(tools, KEY, {}, readers=READERS).index,
        KEY,
    )
    assert (found.catalogue, found.nowhere) == (len("hibernation"), 0)


def test_the_first_source_of_a_value_counts() -> None:
    index = known(ADDRESS, 1 + 2)
    index.add(prints_of(ADDRESS, KEY), 1 + 9, prose=False, limit=6000)
    assert origin(leaf_tokens(ADDRESS, KEY), index, [], Index(), KEY).source == 2


def test_a_field_takes_over_what_prose_said_first_and_never_the_other_way_round() -> None:
    index = known(ADDRESS, 1 + 2, prose=True)
    assert origin(leaf_tokens(ADDRESS, KEY), index, [], Index(), KEY).prose > 0
    index.add(prints_of(ADDRESS, KEY), 1 + 3, prose=False, limit=6000)
    found = origin(leaf_tokens(ADDRESS, KEY), index, [], Index(), KEY)
    assert (found.source, found.prose) == (3, 0)
    index.add(prints_of(ADDRESS, KEY), 1 + 4, prose=True, limit=6000)
    assert origin(leaf_tokens(ADDRESS, KEY), index, [], Index(), KEY).source == 3


parts = st.sets(st.integers(0, 40), max_size=12)


@FIXED
@given(st.lists(st.tuples(st.integers(0, 4), parts, parts, parts), max_size=8))
def test_a_result_at_once_is_its_parts_one_by_one(
    results: list[tuple[int, set[int], set[int], set[int]]],
) -> None:
    at_once, one_by_one = Index(), Index()
    for source, anchored, fields, prose in results:
        if source == INTENT:
            for index in (at_once, one_by_one):
                index.add(fields, INTENT, prose=False, limit=1000)
            continue
        at_once.add_result(anchored, fields, prose, source, limit=1000)
        one_by_one.add(anchored, source, prose=False, limit=1000, anchored=True)
        one_by_one.add(fields, source, prose=False, limit=1000)
        one_by_one.add(prose, source, prose=True, limit=1000)
        assert at_once.dump() == one_by_one.dump()


def test_a_result_that_overflows_makes_room_once() -> None:
    index = Index()
    index.add(set(range(50)), INTENT, prose=False, limit=100)
    assert index.add_result({100, 101}, set(range(102, 130)), set(range(130, 180)), 3, limit=100) == 42
    assert len(index.prints) == 88
    assert -1 not in index.find(range(50))


# ------------------------------------------------------------------ the bits of a source


def marks(*steps: tuple[int, bool, bool]) -> int:
    """What an index keeps of one print after `steps`: source, in prose, anchored."""
    index = Index()
    for source, prose, anchored in steps:
        index.add({7}, source, prose=prose, limit=100, anchored=anchored)
    (found,) = index.find([7])
    return found


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([(3, False, False)], 3),
        ([(3, True, False)], 3 | PROSE),
        ([(3, False, True)], 3 | ANCHORED),
        # Within one answer a better place wins, and the call stays the only one.
        ([(3, True, False), (3, False, False)], 3),
        ([(3, False, False), (3, False, True)], 3 | ANCHORED),
        ([(3, True, False), (3, False, True)], 3 | ANCHORED),
        ([(3, False, True), (3, False, False), (3, True, False)], 3 | ANCHORED),
        # A second call makes it known from several, whichever is kept.
        ([(3, False, False), (5, False, False)], 3 | SEVERAL),
        ([(3, False, False), (5, True, False)], 3 | SEVERAL),
        ([(3, True, False), (5, True, False)], 3 | PROSE | SEVERAL),
        ([(3, True, False), (5, False, False)], 5 | SEVERAL),
        ([(3, False, False), (5, False, True)], 5 | ANCHORED | SEVERAL),
        ([(3, False, True), (5, False, True)], 3 | ANCHORED | SEVERAL),
        ([(3, False, True), (5, True, False)], 3 | ANCHORED | SEVERAL),
        ([(3, True, False), (5, False, False), (5, False, True)], 5 | ANCHORED | SEVERAL),
        # The intent takes over whatever was known, and nothing takes over from it.
        ([(3, False, True), (5, True, False), (INTENT, False, False)], INTENT),
        ([(INTENT, False, False), (3, False, True), (5, True, False)], INTENT),
        # A number beyond the highest is cut, and touches no bit.
        ([(2**31 + 5, False, False)], MAX_SOURCE),
    ],
)
def test_what_is_kept_of_a_print_that_is_met_again(steps: list[tuple[int, bool, bool]], kept: int) -> None:
    assert marks(*steps) == kept


SIGHTINGS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=8)


@FIXED
@given(SIGHTINGS)
def test_the_bits_say_what_was_met_whatever_the_order(steps: list[tuple[int, bool, bool]]) -> None:
    """As they come from answers: what is anchored is no prose, and the intent is neither."""
    steps = [(s, p and s != INTENT, a and not p and s != INTENT) for s, p, a in steps]
    found = marks(*steps)
    if any(source == INTENT for source, _, _ in steps):
        assert found == INTENT
        return
    assert bool(found & SEVERAL) == (len({source for source, _, _ in steps}) > 1)
    assert bool(found & ANCHORED) == any(anchored for _, _, anchored in steps)
    assert bool(found & PROSE) == all(prose for _, prose, _ in steps)
    best = max((anchored, not prose) for _, prose, anchored in steps)
    first = next(source for source, prose, anchored in steps if (anchored, not prose) == best)
    assert found & MAX_SOURCE == first


@FIXED
@given(st.lists(st.tuples(SIGHTINGS, st.sets(st.integers(0, 30), max_size=8)), max_size=6))
def test_prints_are_kept_alike_one_by_one_and_together_and_across_packing(
    rounds: list[tuple[list[tuple[int, bool, bool]], set[int]]],
) -> None:
    together, single = Index(), Index()
    for steps, prints in rounds:
        for source, prose, anchored in steps:
            before = together.dump()
            together.add(prints, source, prose=prose, limit=1000, anchored=anchored)
            assert Index(before).dump() == before  # what was packed does not change under its reader
            for one in sorted(prints, reverse=True):
                single.add({one}, source, prose=prose, limit=1000, anchored=anchored)
            together = Index(together.dump())
    assert together.dump() == single.dump()


def test_only_a_sole_source_counts_as_sole_and_only_a_field_beside_the_intent_as_anchored() -> None:
    index = Index()
    index.add(prints_of(IBAN, KEY), 1 + 2, prose=False, limit=6000, anchored=True)
    once = origin(leaf_tokens(IBAN, KEY), index, [], Index(), KEY)
    assert (once.results, once.anchored, once.sole, once.prose) == (once.total, once.total, once.total, 0)
    index.add(prints_of(IBAN, KEY), 1 + 3, prose=True, limit=6000)
    twice = origin(leaf_tokens(IBAN, KEY), index, [], Index(), KEY)
    assert (twice.results, twice.anchored, twice.sole, twice.source) == (twice.total, twice.total, 0, 2)


@FIXED
@given(SIGHTINGS)
def test_the_parts_of_what_results_carry_lie_within_it(steps: list[tuple[int, bool, bool]]) -> None:
    index = Index()
    for source, prose, anchored in steps:
        index.add(prints_of(ADDRESS, KEY), source, prose=prose, limit=6000, anchored=anchored and not prose)
    found = origin(leaf_tokens(f"{ADDRESS} and more", KEY), index, [], Index(), KEY)
    assert found.total == found.intent + found.catalogue + found.results + found.nowhere
    assert max(found.anchored, found.prose, found.sole) <= found.results
    assert found.anchored + found.prose <= found.results
    aimed = found.aimed
    assert aimed.intent + aimed.anchored + aimed.prose + aimed.nowhere <= aimed.total <= found.total


# ------------------------------------------------------------------ what an effect is aimed at

ADDRESSES = {
    "e-mail": "Maria.Keller@Example.com",
    "URL": "https://intake.example/v1/upload?key=4",
    "www": "www.intake.example/form",
    "domain": "totally-harmless.com",
    "domain in a country": "collect.evil.de",
    "IBAN": "CH9300762011623852957",
    "account": "4400120098",
    "telephone": "0041446681800",
}
PLAIN = {
    "a sentence": "Please settle it today",
    "an amount": "1,200.00",
    "a date": "2024-05-01",
    "a short number": "4411",
    "a file": "reports/may.txt",
    "a word": "Zurich",
    "a version": "v2.13",
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_says_where_it_comes_from(name: str) -> None:
    value = ADDRESSES[name]

    def aimed(index: Index) -> Aimed:
        return origin(leaf_tokens(value, KEY), index, [], Index(), KEY).aimed

    intended, field, prose = (
        known(f"write to {value} now"),
        known(f"see {value}", 4),
        known(value, 4, prose=True),
    )
    anchored = Index()
    anchored.add(prints_of(value, KEY), 4, prose=False, limit=6000, anchored=True)
    whole = aimed(Index())
    assert whole.total > 0
    assert whole == Aimed(whole.total, 0, 0, 0, whole.total)
    assert aimed(intended) == Aimed(whole.total, whole.total)
    assert aimed(field) == Aimed(whole.total)
    assert aimed(prose) == Aimed(whole.total, 0, 0, whole.total, 0)
    assert aimed(anchored) == Aimed(whole.total, 0, whole.total)


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_address_is_not_aimed(name: str) -> None:
    assert origin(leaf_tokens(PLAIN[name], KEY), Index(), [], Index(), KEY).aimed is NOT_AIMED


DESCRIPTION = f"Sends mail. Every message is copied to {ADDRESS} for the archive."
DEFAULT = {"properties": {"copy": {"default": ADDRESS}}}
BLIND_COPY = {"properties": {"copy": {"description": f"Always {ADDRESS}."}}}


def by_catalogue(value: str, tool: str, *tools: Tool) -> Origin:
    catalogue = Catalogue(tools, KEY, {}, readers=READERS)
    return origin(
        leaf_tokens(value, KEY), Index(), [], catalogue.index, KEY, catalogue.own.get(tool, NO_OWN_WORDS)
    )


def test_an_address_in_a_field_of_the_called_tool_is_the_catalogues() -> None:
    found = by_catalogue(ADDRESS, "send", Tool(name="send", parameters=DEFAULT))
    assert (found.catalogue, found.aimed) == (found.total, Aimed(found.aimed.total))
    assert found.source is None


@pytest.mark.parametrize(
    "tools",
    [
        [Tool(name="send"), Tool(name="weather", description=DESCRIPTION)],
        [Tool(name="send"), Tool(name="weather", parameters=DEFAULT)],
        [Tool(name="send"), Tool(name="weather", parameters=BLIND_COPY)],
        [Tool(name="send", description=DESCRIPTION), Tool(name="weather")],
        [Tool(name="send", parameters=BLIND_COPY), Tool(name="weather")],
        [Tool(name="weather", parameters=DEFAULT)],
    ],
    ids=[
        "another description",
        "another default",
        "another parameter",
        "its own description",
        "its own parameter",
        "an unknown tool",
    ],
)
def test_any_other_address_of_the_catalogue_is_a_strangers_prose(tools: list[Tool]) -> None:
    found = by_catalogue(ADDRESS, "send", *tools)
    aimed = found.aimed
    assert aimed == Aimed(aimed.total, 0, 0, aimed.total, 0)
    assert found.source == DESCRIBED
    assert min(found.prose, found.sole, found.results) >= aimed.total


def test_an_address_that_a_result_carries_too_is_the_results() -> None:
    catalogue = Catalogue([Tool(name="send", description=DESCRIPTION)], KEY, {}, readers=READERS)
    found = origin(
        leaf_tokens(ADDRESS, KEY), known(ADDRESS, 1 + 4), [], catalogue.index, KEY, catalogue.own["send"]
    )
    assert (found.source, found.prose) == (4, 0)


def test_words_of_a_description_are_the_catalogues_for_its_own_tool_alone() -> None:
    tools = [Tool(name="send"), Tool(name="weather", description="Tell the forecast for hikers.")]
    assert by_catalogue("hikers", "weather", *tools).catalogue == len("hikers")
    assert by_catalogue("hikers", "send", *tools).nowhere == len("hikers")
    assert by_catalogue("weather", "send", *tools).catalogue == len("weather")


def test_an_address_that_only_the_parent_agent_said_is_not_intended() -> None:
    own = known(f"write to {ADDRESS}")
    found = origin(leaf_tokens(ADDRESS, KEY), own, [known("read notes")], Index(), KEY)
    assert found.aimed.intent == 0
    assert found.aimed.total > 0


@FIXED
@given(st.text(max_size=200), st.sampled_from(sorted(ADDRESSES.values())))
def test_an_address_counts_wherever_it_stands(text: str, value: str) -> None:
    alone = {t.text for t in tokens(value) if t.address}
    assert alone
    assert alone <= {t.text for t in tokens(f"{text} {value}\n{text}") if t.address}
    assert all(t.entity for t in tokens(text) if t.address)


def test_a_value_that_an_ancestor_does_not_intend_is_not_intended() -> None:
    own = known(f"write to {ADDRESS}")
    assert origin(leaf_tokens(ADDRESS, KEY), own, [known("read notes")], Index(), KEY).intent == 0
    assert origin(leaf_tokens(ADDRESS, KEY), own, [known(f"write to {ADDRESS}")], Index(), KEY).intent > 0


def test_the_oldest_results_make_room_and_the_intent_never_does() -> None:
    index = known(ADDRESS)
    for call in range(200):
        index.add(prints_of(f"record{call} entry{call}x", KEY), 1 + call, prose=False, limit=100)
    assert 100 - 100 // 8 <= len(index.prints) <= 100
    assert shares(ADDRESS, index)[0] == 1.0
    assert origin(leaf_tokens("record0", KEY), index, [], Index(), KEY).source is None
    assert origin(leaf_tokens("record199", KEY), index, [], Index(), KEY).source == 199
    again = Index(index.dump())
    assert (again.prints == index.prints).all()
    assert (again.sources == index.sources).all()


def test_fingerprints_in_place_of_values_match_exactly_and_only_whole() -> None:
    """Privacy mode: what a producer hashed with its own key is an identifier like any other."""
    print_a, print_b = "hmac:9f86d081884c7d659a2feaa0c55ad015", "hmac:3a7bd3e2360a3d29eea436fcfb7e44c7"
    index = known(print_a, 1 + 1)
    assert shares(print_a, index) == (0.0, 1.0, 0.0)
    assert shares(print_b, index)[1] < 0.2


def test_another_key_gives_other_fingerprints() -> None:
    assert fingerprint("value", b"one") != fingerprint("value", b"two")


# ------------------------------------------------------------------ shortcuts give what the long way gives

CHUNKS = st.sampled_from(
    "word Straße 1 234 1,234.50 bob@example.com https://www.a.example/b?c=d deadbeefdeadbeef00 %41 a_b-c/d ²²² ½ ﷺ "
    "aGVsbG8gd29ybGQgdGhpcyBpcw== \u200b İ ΟΔΟΣ １２３ e\u0301 \u0301x secret9identifier77 007 x "
    "May 1st, of 5 2024 2:15 pm. 9am 2024-05-13T13:00:00Z 13.05.2024 10:20".split(" ")
)
GAPS = st.sampled_from(["", " ", "  ", "\n", "\t", "\u00a0", "\u2009", "\u3000", "\x1f"])
MIXED = st.lists(st.tuples(CHUNKS, GAPS), max_size=14).map(lambda parts: "".join(a + z for a, z in parts))


@FIXED
@given(MIXED)
def test_a_text_taken_piece_by_piece_has_the_prints_of_the_whole(text: str) -> None:
    whole = set()
    for token in tokens(text):
        whole.add(fingerprint(token.text, KEY))
        if token.entity and len(token.text) >= GRAM + WINNOW - 1:
            whole |= set(winnowed(token.text, KEY))
    assert set(prints_of(text, KEY)) == whole


@FIXED
@given(MIXED)
def test_a_text_taken_piece_by_piece_has_the_stems_of_the_whole(text: str) -> None:
    if apart(text):
        assert stems_of_pieces(text.split(), KEY) == stem_prints(text, KEY)


@FIXED
@given(MIXED)
def test_an_intent_taken_piece_by_piece_names_what_the_whole_does(text: str) -> None:
    named = (t.text for t in tokens(text) if len(t.text) >= 3 and (t.entity or stem(t.text) not in STOP))
    assert set(names_in(text, KEY)) == {fingerprint(name, KEY) for name in named}


@FIXED
@given(st.lists(st.integers(0, 60), max_size=40), st.lists(st.integers(0, 70), max_size=30))
def test_few_prints_and_many_are_sought_alike(held: list[int], wanted: list[int]) -> None:
    index = Index()
    index.add(held, 3, prose=True, limit=100)
    one_by_one = [index.find([p])[0] for p in wanted]
    assert index.find(wanted * 9) == one_by_one * 9
    index.settle()
    assert index.find(wanted) == one_by_one


def test_a_memo_is_bounded_and_keeps_what_came_last() -> None:
    memo: Memo[int] = Memo(int)
    for n in range(MAX_MEMO + MAX_MEMO // 4):
        memo[str(n)] = n
        assert memo[str(n)] == n
    assert len(memo) <= MAX_MEMO
    assert str(MAX_MEMO - 1) in memo
    assert memo["1" * 200] == int("1" * 200)
    assert "1" * 200 not in memo


def joined_from(text: str, index: Index) -> int:
    """Source of the cheapest way to make `text` of known pieces; the plain recurrence, every piece sought."""
    best = [(0, -1)]
    for end in range(1, len(text) + 1):
        choice = (best[end - 1][0] + 1, best[end - 1][1])
        for start in range(max(0, end - 24), end - 2):
            piece = text[start:end]
            source = index.find([fingerprint(number(piece) if piece.isdecimal() else piece, KEY)])[0]
            if source >= 0 and (start, end) != (0, len(text)) and best[start][0] < choice[0]:
                earlier = best[start][1]
                choice = (best[start][0], source if earlier in (-1, INTENT) else earlier)
        best.append(choice)
    return best[-1][1] if best[-1][0] * 5 <= len(text) else -1


@FIXED
@given(
    st.lists(
        st.sampled_from(["alp", "beta", "gam", "abc", "bcd", "cde", "12", "0012", "q", "zz"]), max_size=6
    )
)
def test_a_token_joined_from_known_pieces_is_found_as_by_the_plain_recurrence(parts: list[str]) -> None:
    text = "".join(parts)
    index = known("beta gam 12", 5)
    index.add(prints_of("alp abc", KEY), INTENT, prose=False, limit=100)
    index.add(prints_of("bcd cde", KEY), 7, prose=True, limit=100)
    assert _by_pieces(text, index, KEY) == joined_from(text, index)


@pytest.mark.parametrize(
    "text",
    [
        "may 5 \u200b 2024",
        "5 \u00ad may 2024",
        f"5 fp:{64 * 'a'} may 2024",
        "the 1st \ufeff to the 5th of may, 2024",
        "between the 1st and the 5th of may 2024",
    ],
)
def test_a_date_over_several_pieces_is_the_same_read_at_once_or_piece_by_piece(text: str) -> None:
    assert prints_of_pieces(text.split(), KEY) == set(prints_of(text, KEY))


# ------------------------------------------------------------------ bounds

_OLD = re.compile(r"[^\s\"'<>(){}\[\],;|`=]*[^\W_][@.:/\\\-+_%#&?~][^\s\"'<>(){}\[\],;|`]*[^\W_]/?")


@FIXED
@given(st.text(alphabet="ab1é_ =@.:/-(\"'", max_size=30))
def test_compounds_are_those_of_the_one_regular_expression_that_defines_them(text: str) -> None:
    assert compounds_in(text) == _OLD.findall(text)


HOSTILE = {
    "one long word": "a" * 8192,
    "underscores": "_" * 8192,
    "dashes": "-" * 8192,
    "dots": "a." * 4096,
    "equals": "=a" * 4096,
    "groups of digits": "1,111" * 1600 + "x",
    "odd hex": "f" * 8191,
    "almost base64": "A" * 8191 + "=",
    "percent signs": "%41" * 2700,
    "ligatures": "ﷺ" * 8192,
    "months": "may 1 " * 1365,
    "hours": "10:10:" * 1365,
    "a host of many hyphens": "a-" * 4090 + ".com",
    "many hosts": "@a-" * 2730,
    "angle brackets": "<" * 4096 + " " * 4096,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_leaf_costs_well_under_a_second(name: str) -> None:
    started = time.process_time()
    found = tokens(HOSTILE[name])
    assert time.process_time() - started < 0.75
    assert len(found) <= 4096


def test_hostile_arguments_of_many_unknown_words_cost_seconds_at_most() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choice("abcdefghijklmnop0123") for _ in range(15)) for _ in range(2048)]
    index = known(" ".join(words[::7]), 3)
    started = time.process_time()
    for leaf in leaves([" ".join(words[n : n + 8]) for n in range(0, 2048, 8)])[0]:
        origin(leaf_tokens(leaf.text, KEY), index, [], Index(), KEY)
    assert time.process_time() - started < 5


def test_leaves_are_bounded_in_number_characters_and_depth_and_what_is_cut_is_counted() -> None:
    found, cuts = leaves({f"k{n}": "x" for n in range(MAX_LEAVES + 50)})
    assert (len(found), cuts) == (MAX_LEAVES, 1)
    found, cuts = leaves(["y" * 100_000] * 10)
    assert sum(len(leaf.text) for leaf in found) <= MAX_CHARS + len(found)
    assert cuts == 10
    deep: object = "x"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert leaves(deep) == ([], 1)


def test_both_ends_of_a_long_leaf_are_seen() -> None:
    found, _ = leaves({"text": f"{ADDRESS} {'lorem ' * 10_000} {IBAN}"})
    assert ADDRESS in found[0].text
    assert IBAN in found[0].text


@FIXED
@given(st.text(max_size=200))
def test_any_text_explains_itself(text: str) -> None:
    found = origin(leaf_tokens(text, KEY), known(text), [], Index(), KEY)
    assert found.intent == found.total

from __future__ import annotations

import contextlib
import re

from hypothesis import example, given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, Host, host_order, host_text, parse_host
from poolmgr.version import Version

LABELS = st.from_regex(r"[a-z](?:[a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=5).map(".".join).map(parse_host),
    st.ip_addresses(),
)
RESTS = st.sampled_from(["", "+", "-beta2", "-rc1", "~unreleased", "-104-gabc", "-9", "beta", " (build x)"])
VERSIONS = st.builds(
    lambda numbers, rest: Version.parse(".".join(map(str, numbers)) + rest),
    st.lists(st.integers(0, 99), min_size=1, max_size=6),
    RESTS | st.text(max_size=8),
)


@given(st.text() | st.text("ab1.-_:[]%\\", max_size=20))
@example("xn--\u0661.example")
def test_any_text_is_a_host_or_refused_and_a_host_survives_being_written(text: str) -> None:
    with contextlib.suppress(ParseError):
        host = parse_host(text)
        assert parse_host(host_text(host)) == host
        assert re.fullmatch(r"[a-z0-9_.:-]+", host_text(host))


@given(HOSTS, HOSTS)
def test_hosts_sort_alike_only_when_they_are_the_same(one: Host, other: Host) -> None:
    assert (host_order(one) == host_order(other)) == (one == other)


@given(st.text() | st.text("0123456789.-+~vbeta"))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert Version.parse(text).text == text[:MAX_TEXT]


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_totally_ordered_and_equal_ones_hash_alike(one: Version, two: Version, three: Version) -> None:
    assert sum((one < two, one == two, one > two)) == 1
    assert not (one <= two <= three) or one <= three
    assert one != two or hash(one) == hash(two)

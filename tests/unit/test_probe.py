from __future__ import annotations

import subprocess
import sys

import pytest

from poolmgr.crawl.probe import Canary, Lookup, Search, host_header, questions
from poolmgr.hosts import parse_host
from poolmgr.model import Ask, Outcome
from tests.build import NOW, named
from tests.lab.pages import CANARY, DEFAULT_PAGE, OTHER, Facts, armoured, index, sks


def read(ask: Ask, lookup: Lookup, body: str) -> tuple[Outcome, str]:
    """Return the outcome and detail of a 200 with `body`."""
    reading = questions(lookup, max_peers=10)[ask].read(body.encode(), NOW)
    return reading.outcome, reading.detail


@pytest.mark.parametrize(
    ("host", "port", "header"),
    [
        ("keys.example.org", 11371, "keys.example.org:11371"),
        ("keys.example.org", 80, "keys.example.org"),
        ("keys.example.org", 443, "keys.example.org"),
        ("9.0.0.1", 11371, "9.0.0.1:11371"),
        ("2a00::1", 11371, "[2a00::1]:11371"),
        ("2a00::1", 80, "[2a00::1]"),
    ],
)
def test_the_host_header_has_the_port_unless_it_is_that_of_the_web(host: str, port: int, header: str) -> None:
    assert host_header(parse_host(host), port) == header


def test_an_internationalised_name_goes_into_the_host_header_as_a_label() -> None:
    assert host_header(parse_host("schlüssel.example.org"), 80) == "xn--schlssel-95a.example.org"
    assert host_header(named("keys.example.org."), 80) == "keys.example.org"


def test_the_stats_page_is_asked_for_machine_readable() -> None:
    assert questions(Canary(CANARY), max_peers=1)[Ask.STATS].path == "/pks/lookup?op=stats&options=mr"


def test_a_canary_is_asked_for_by_fingerprint() -> None:
    assert questions(Canary(CANARY), max_peers=1)[Ask.LOOKUP].path == f"/pks/lookup?op=get&options=mr&search=0x{CANARY}"


def test_a_search_is_quoted_into_the_path() -> None:
    path = questions(Search("me & you <a@b.test>"), max_peers=1)[Ask.LOOKUP].path
    assert path == "/pks/lookup?op=index&options=mr&search=me%20%26%20you%20%3Ca%40b.test%3E"


def test_a_stats_page_is_good_and_read_up_to_max_peers() -> None:
    facts = Facts(hostname="a.test", version="1.1.6", keys=7, peers=[f"k{number}.test" for number in range(20)])
    reading = questions(Canary(CANARY), max_peers=10)[Ask.STATS].read(sks(facts).encode(), NOW)
    assert reading.outcome is Outcome.OK
    assert reading.stats is not None
    assert (reading.stats.keys, len(reading.stats.peers), reading.stats.rejected_peers) == (7, 10, 10)


def test_a_page_that_is_no_stats_page_is_no_keyserver() -> None:
    outcome, detail = read(Ask.STATS, Canary(CANARY), DEFAULT_PAGE)
    assert outcome is Outcome.NOT_KEYSERVER
    assert "Welcome to nginx" in detail


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (armoured(CANARY), Outcome.OK),
        (armoured(OTHER), Outcome.WRONG_KEY),
        (armoured(CANARY)[:200], Outcome.NO_KEY),
        (DEFAULT_PAGE, Outcome.NO_KEY),
        ("", Outcome.NO_KEY),
    ],
)
def test_the_answer_to_a_canary_must_hold_that_key(body: str, outcome: Outcome) -> None:
    assert read(Ask.LOOKUP, Canary(CANARY), body)[0] is outcome


@pytest.mark.parametrize(
    ("body", "outcome"),
    [(index([CANARY]), Outcome.OK), (index([]), Outcome.NO_KEY), (DEFAULT_PAGE, Outcome.NO_KEY)],
)
def test_the_answer_to_a_search_must_list_a_key(body: str, outcome: Outcome) -> None:
    assert read(Ask.LOOKUP, Search("user"), body)[0] is outcome


def test_what_makes_no_crawl_does_not_load_what_only_a_crawl_needs() -> None:
    """It would be a tenth of the time that `poolmgr plan` takes."""
    late = {"dns.resolver", "requests", "rich", "urllib3"}
    code = f"import sys, poolmgr.cli, poolmgr.pipeline; print({late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"

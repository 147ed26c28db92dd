from __future__ import annotations

import pytest

from poolmgr.countries import CONTINENTS, continent_of, parse_country
from poolmgr.errors import ParseError


@pytest.mark.parametrize("text", ["de", "DE", "dE"])
def test_a_code_is_read_in_either_case(text: str) -> None:
    assert parse_country(text) == "de"


@pytest.mark.parametrize("text", ["", "d", "deu", "d1", "dé", " de", "de\n", "\x1b[2J" * 99])
def test_anything_else_is_refused_and_not_shown_whole(text: str) -> None:
    with pytest.raises(ParseError) as refusal:
        parse_country(text)
    assert str(refusal.value).isascii()
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("country", "continent"),
    [("de", "eu"), ("us", "na"), ("mx", "na"), ("br", "sa"), ("jp", "as"), ("za", "af"), ("au", "oc"), ("aq", "an")],
)
def test_a_country_is_on_its_continent(country: str, continent: str) -> None:
    assert continent_of(country) == continent


def test_each_assigned_code_is_on_one_continent_and_others_are_on_none() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    codes = [one + other for one in letters for other in letters]
    known = [continent_of(code) for code in codes if continent_of(code) is not None]
    assert set(known) == set(CONTINENTS)
    assert len(known) == 250, "249 in ISO 3166-1, and xk"
    assert continent_of("zz") is None
    assert continent_of("DE") is None

from __future__ import annotations

import itertools

import pytest

from poolmgr.errors import ParseError
from poolmgr.version import Version


@pytest.mark.parametrize(
    "texts",
    [
        ["0.9.2", "1.0.10", "1.1.1", "1.1.4", "1.1.6", "1.1.6+", "1.1.7"],
        ["2.0", "2.1.0-alpha1", "2.1.0-beta2", "2.1.0-beta10", "2.1.0-rc1", "2.1.0"],
        ["2.1.0", "2.1.0-9-gabcdef0", "2.1.0-104-gabcdef", "2.1.1"],
        ["2.2", "2.2.1", "2.2.10", "2.10"],
        ["2.4-beta2", "v2.4", "2.4.1"],
        ["2.2", "2.3~unreleased", "2.3"],
    ],
)
def test_versions_sort_as_their_software_released_them(texts: list[str]) -> None:
    versions = [Version.parse(text) for text in texts]
    assert all(lower < higher for lower, higher in itertools.combinations(versions, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [("2.2", "2.2.0"), ("v2.2", "2.2"), ("1.1.7 (build 1a2b3c)", "1.1.7"), ("1.1.7+ (build 1a2b3c)", "1.1.7+")],
)
def test_versions_that_mean_the_same_are_equal_and_hash_alike(one: str, other: str) -> None:
    assert Version.parse(one) == Version.parse(other)
    assert hash(Version.parse(one)) == hash(Version.parse(other))


def test_a_version_keeps_its_text_and_knows_its_minor() -> None:
    version = Version.parse("2.1.0-104-gabcdef")
    assert (str(version), version.minor) == ("2.1.0-104-gabcdef", (2, 1))
    assert Version.parse("3").minor == (3, 0)
    assert Version.parse("2.4-beta2").minor == (2, 4)


def test_a_version_equals_nothing_that_is_no_version() -> None:
    assert Version.parse("2.2") != "2.2"


@pytest.mark.parametrize("text", ["", "~unreleased", "beta", "+1", "\u0661.1", "\x1b2"])
def test_a_version_that_starts_with_no_number_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is not a version"):
        Version.parse(text)

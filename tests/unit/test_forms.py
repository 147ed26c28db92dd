"""A keyserver is put together again from its form and its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.model import Ask, Keyserver
from poolmgr.store.forms import EPOCH, counts_of, from_form, to_form, to_numbers, with_all, with_counts
from tests.build import NOW, keyserver
from tests.reference import whole_snapshot


@pytest.mark.parametrize("each", whole_snapshot().keyservers, ids=["with an address", "without"])
def test_form_and_numbers_make_the_keyserver_again(each: Keyserver) -> None:
    form = from_form(to_form(each))
    counts, rest = to_numbers(each)
    left = iter(rest)
    assert with_all(form, counts, left) == each
    assert (len(counts), list(left)) == (counts_of(form), [])


def test_what_was_counted_and_when_is_not_in_the_form() -> None:
    one, other = (keyserver("ks1.example.net", "198.51.100.1", keys=keys) for keys in (5_000_000, 5_000_001))
    probes = tuple(
        replace(probe, started=NOW + timedelta(seconds=3), total=timedelta(seconds=1), connect=timedelta(seconds=1))
        for probe in other.addresses[0].probes
    )
    other = replace(
        other, listed=NOW + timedelta(days=1), addresses=(replace(other.addresses[0], probes=probes, spread=7),)
    )
    assert to_form(one) == to_form(other)


def test_the_counted_keyserver_has_the_time_of_its_count_and_no_other() -> None:
    each = whole_snapshot().keyservers[0]
    counted = with_counts(from_form(to_form(each)), to_numbers(each)[0])
    stats, real = counted.addresses[0].stats, each.addresses[0].stats
    assert stats == real
    assert {probe.started for probe in counted.addresses[0].probes} == {EPOCH}


def test_a_page_that_does_not_tell_when_it_was_counted_has_the_time_of_its_probe() -> None:
    each = keyserver("ks1.example.net", "198.51.100.1")
    counted = with_counts(from_form(to_form(each)), to_numbers(each)[0])
    times = {probe.ask: probe.started for probe in counted.addresses[0].probes}
    assert times == {Ask.STATS: NOW, Ask.LOOKUP: EPOCH}

from __future__ import annotations

from dataclasses import replace

from poolmgr.hosts import Host, host_text, parse_host
from poolmgr.report.links import Links, links
from tests.build import keyserver, snapshot


def links_of(**listings: str) -> Links:
    """Return the links between keyservers in .test, each with the names that it lists."""
    return links(
        snapshot(
            replace(keyserver(f"{name}.test"), peers=tuple(parse_host(f"{peer}.test") for peer in listed.split()))
            for name, listed in listings.items()
        )
    )


def shown(pairs: tuple[tuple[Host, Host], ...]) -> list[str]:
    return [f"{host_text(one)} {host_text(other)}" for one, other in pairs]


def test_two_that_list_each_other_have_one_mutual_link() -> None:
    found = links_of(b="a", a="b c", c="a")
    assert shown(found.mutual) == ["a.test b.test", "a.test c.test"]
    assert found.one_way == ()


def test_a_listing_that_is_not_returned_is_a_one_way_link_from_who_lists() -> None:
    found = links_of(a="", b="a", c="b a")
    assert found.mutual == ()
    assert shown(found.one_way) == ["b.test a.test", "c.test a.test", "c.test b.test"]


def test_keyservers_that_list_nobody_have_no_links() -> None:
    assert links_of(a="", b="") == Links((), ())

"""A mesh of three good keyservers around one that lies, and what must hold of the good ones."""

from __future__ import annotations

from poolmgr.model import Snapshot
from tests.lab.crawls import GOOD, Lab, by_name, only_address, outcomes, verdicts
from tests.lab.mesh import About
from tests.lab.process import PATIENCE

GOOD_NAMES = ("good1.test", "good2.test", "good3.test")
LIAR = "liar.test"
SEED = GOOD_NAMES[0]


def add_good(lab: Lab) -> None:
    """Add the good keyservers, which all list the liar as well."""
    for name in GOOD_NAMES:
        lab.add(name, peers=[*GOOD_NAMES, LIAR])


def answering(head: bytes, body: bytes = b"") -> About:
    """Return the manners of one that answers whatever it is asked with `head` (less ``HTTP/1.1 ``) and `body`."""
    return {"says": lambda: [b"HTTP/1.1 " + head + b"\r\n\r\n", body]}


def assert_unharmed(snapshot: Snapshot, *others: str) -> None:
    """The good keyservers and `others` are members, and nobody else is; and it did not take long."""
    keyservers = by_name(snapshot)
    assert [outcomes(only_address(keyservers[name])) for name in GOOD_NAMES] == [GOOD] * len(GOOD_NAMES)
    assert {name for name, reasons in verdicts(snapshot).items() if not reasons} == {*GOOD_NAMES, *others}
    assert (snapshot.finished - snapshot.started).total_seconds() < PATIENCE

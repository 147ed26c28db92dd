"""One name server of each kind for one case of the matrix, and poolmgr's publisher for it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
from dns.rdatatype import RdataType

from poolmgr.errors import PoolmgrError
from poolmgr.pools import Allowance
from poolmgr.publish.checkers import Checker
from poolmgr.publish.rfc2136 import Primary, Rfc2136Publisher
from poolmgr.publish.target import Publisher
from poolmgr.publish.tsig import KeyFile, load_key
from poolmgr.publish.zonefile import Verify, ZoneFile, ZoneFilePublisher
from poolmgr.zone.desired import from_text
from poolmgr.zone.plan import Limits, Plan, make_plan
from poolmgr.zone.records import Records, RRsetKey
from poolmgr.zone.serial import Scheme, is_newer, next_serial
from poolmgr.zone.sizes import refuse_too_many
from poolmgr.zone.skeleton import read_skeleton
from tests.build import NOW, ORIGIN, POOL
from tests.lab.knot import UPDATED, Knot
from tests.lab.named import KEY_NAME, Named
from tests.lab.nsd import Nsd
from tests.lab.pdns import COUNTED, Pdns
from tests.lab.process import LabError, find_program, wait_until
from tests.lab.scripted import Scripted

OWNED: frozenset[RRsetKey] = frozenset((POOL, kind) for kind in (RdataType.A, RdataType.AAAA))
LIMITS = {key: Limits(min_members=1, max_removed=Allowance(share=1.0)) for key in OWNED}
SERIAL = 2026010101

FOREIGN = 'pool TXT "kept by hand"\nwww A 192.0.2.80\nfar.pool A 192.0.2.81\n'
APEX = "$TTL 300\n@ SOA ns1 hostmaster ( {serial} 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\n"

PUBLISHED, UNCHANGED, HELD, REFUSED = "published", "no change", "held", "refused"
BROUGHT_BACK = "brought back"
"""An error, and the previous file is in its place again."""
UNSEEN = "published, secondaries stay behind"
"""An error, although the server itself serves what was planned."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A kind of server, and how poolmgr publishes to it."""

    product: str
    by_update: bool
    programs: tuple[str, ...]
    version: tuple[str, str]
    """The command that says which version it is."""

    @property
    def name(self) -> str:
        """How the page calls it."""
        return f"{self.product} ({'update' if self.by_update else 'file'})"


BIND_UPDATE = Setup("BIND", True, ("named",), ("named", "-v"))
KNOT_UPDATE = Setup("Knot", True, ("knotd",), ("knotd", "-V"))
PDNS_UPDATE = Setup("PowerDNS", True, ("pdns_server",), ("pdns_server", "--version"))
NSD_FILE = Setup("NSD", False, ("nsd", "nsd-checkzone"), ("nsd", "-v"))
BIND_FILE = Setup("BIND", False, ("named", "named-checkzone"), ("named", "-v"))
KNOT_FILE = Setup("Knot", False, ("knotd",), ("knotd", "-V"))
SETUPS = (BIND_UPDATE, KNOT_UPDATE, PDNS_UPDATE, NSD_FILE, BIND_FILE, KNOT_FILE)
UPDATES = tuple(setup for setup in SETUPS if setup.by_update)
FILES = tuple(setup for setup in SETUPS if not setup.by_update)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen: what it amounts to, and poolmgr's or our words for it."""

    kind: str
    sentence: str


class Cell:
    """One server for one case, in `folder`. Nothing runs before `serve`."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self._first = ""
        self.server: Named | Knot | Pdns | Nsd

    def serve(self, more: str = FOREIGN, serial: int = SERIAL, *, clocked: bool = False) -> None:
        """Start the server with a zone that has `more`; `clocked`: it counts the serial as seconds since 1970."""
        self._first = more
        text = f"$ORIGIN {ORIGIN}\n" + APEX.format(serial=serial) + more
        folder, origin = self.folder, ORIGIN.to_text()
        match self.setup.product, self.setup.by_update:
            case "BIND", True:
                policy = f"update-policy {{ grant {KEY_NAME} zonesub ANY; }};"
                method = " serial-update-method unixtime;" if clocked else ""
                self.server = Named(folder, origin, zone_text=text, zone_options=policy + method)
            case "BIND", False:
                self.server = Named(folder, origin, zone_text=text, zone_options="")
            case "Knot", by_update:
                options = (UPDATED, *(("serial-policy: unixtime",) if clocked else ())) if by_update else ()
                self.server = Knot(folder, origin, zone_text=text, zone_options=options)
            case "PowerDNS", _:
                self.server = Pdns(folder, origin, zone_text=text, soa_edit="EPOCH" if clocked else COUNTED)
            case _:
                self.server = Nsd(folder, origin, zone_text=text)
        self.server.start()

    def publisher(
        self,
        key_file: Path | None = None,
        at: Scripted | None = None,
        reload: tuple[str, ...] | None = None,
        patience: float = 5,
    ) -> Publisher:
        """Return the publisher of this server, or one that has something else than it should."""
        if self.setup.by_update:
            assert not isinstance(self.server, Nsd)
            source = KeyFile(key_file or self.server.key_file)
            where = at or self.server
            primary = Primary(server=where.address, port=where.port, key=source, timeout=timedelta(seconds=patience))
            return Rfc2136Publisher(primary, ORIGIN, OWNED, load_key(source, {}))
        assert not isinstance(self.server, Pdns)
        file = ZoneFile(
            path=self.server.zone_file,
            checks=tuple(checker for checker in Checker if find_program(checker) is not None),
            reload=self.server.reload_command if reload is None else reload,
            verify=Verify(server=self.server.address, port=self.server.port, timeout=timedelta(seconds=patience)),
        )
        return ZoneFilePublisher(file, ORIGIN)

    def plan(self, text: str, publisher: Publisher | None = None, scheme: Scheme = Scheme.DATE) -> Plan:
        """Return the plan of the pool's records in `text`, made as a run makes it."""
        published = (publisher or self.publisher()).read()
        desired = records(text)
        serial = None
        if not self.setup.by_update:
            skeleton = read_skeleton("skeleton", ORIGIN, OWNED, lambda _: APEX.format(serial=1) + self._first)
            desired = {**skeleton, **desired}
            known = (serial for serial in (published.serial, published.served) if serial is not None)
            serial = next_serial(scheme, NOW, known)
        plan = make_plan(
            origin=ORIGIN,
            published=published.records,
            desired=desired,
            limits=LIMITS,
            serial=published.serial,
            next_serial=serial,
            provenance="the matrix of servers",
            at=NOW,
            holds={},
        )
        refuse_too_many(plan.records)
        return plan

    def publish(self, text: str, scheme: Scheme = Scheme.DATE) -> Outcome:
        """Publish the pool's records in `text` and make sure that they are served, with a newer serial."""
        before = self.serial()
        self.publisher().publish(self.plan(text, scheme=scheme))
        return self.published(before, text)

    def published(self, before: int, text: str) -> Outcome:
        """Return what it is that `text` is served now, after the serial `before`, and make sure of it."""
        if self.setup is NSD_FILE:
            # While it reloads, the old and the new process answer in turn.
            wait_until(lambda: self.served() == answers(text) and self.serial() != before, "NSD has reloaded")
        assert self.served() == answers(text)
        after = self.serial()
        assert is_newer(after, before), f"{after} after {before}"
        return Outcome(PUBLISHED, f"the serial goes from {before} to {_shown(after)}")

    def refused(self, attempt: Callable[[], object], kind: str = REFUSED) -> Outcome:
        """Return the sentence with which `attempt` fails."""
        try:
            attempt()
        except PoolmgrError as error:
            return self.told(str(error), kind)
        raise LabError("what should be refused was not")

    def told(self, sentence: str, kind: str = REFUSED) -> Outcome:
        """Return the outcome that poolmgr says `sentence`, without what in it is another thing each time."""
        return Outcome(kind, self._plain(sentence))

    def answer(self, owner: str, kind: str) -> frozenset[str]:
        """Return what the server answers. NSD resets connections that come while it reloads: it is asked again."""
        name = dns.name.from_text(owner, ORIGIN)
        replies: list[dns.message.Message] = []

        def is_answered() -> bool:
            query = dns.message.make_query(name, kind)
            with suppress(ConnectionError, EOFError):
                replies.append(dns.query.tcp(query, str(self.server.address), port=self.server.port, timeout=5))
            return bool(replies)

        wait_until(is_answered, f"{self.setup.name} answers")
        (reply,) = replies
        assert reply.flags & dns.flags.AA, reply
        return frozenset(rdata.to_text() for rrset in reply.answer if rrset.name == name for rdata in rrset)

    def served(self) -> dict[str, frozenset[str]]:
        """Return the pool's addresses as the server answers."""
        return {kind: self.answer("pool", kind) for kind in ("A", "AAAA")}

    def serial(self) -> int:
        """Return the serial that the server answers with."""
        return int(next(iter(self.answer("@", "SOA"))).split()[2])

    def _plain(self, text: str) -> str:
        """Return `text` without what is another thing each time: addresses, folders and clocks."""
        for address in ("127.0.0.1", str(self.server.address)):
            text = re.sub(rf" {re.escape(address)} port \d+", "", text)
        if not isinstance(self.server, Pdns):
            text = text.replace(shlex.join(self.server.reload_command), "the reload")
        text = re.sub(r"127\.0\.0\.1#\d+", "its address", text)
        text = text.replace(f"{self.folder}/", "").replace(str(self.folder), "FOLDER")
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "...", text)
        text = re.sub(r"\b(3599|360\d) s apart", "3600 s apart", text)
        text = re.sub(r"(\.poolmgr-)\w+", r"\1...", text)
        return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the matrix, for the setups in which it can happen."""

    name: str
    title: str
    see: Callable[[Cell], Outcome]
    setups: tuple[Setup, ...] = SETUPS
    programs: tuple[str, ...] = ()
    """Those that it takes beside the servers' own."""


def records(text: str) -> Records:
    """Return the records of `text`, which all belong to the pool."""
    read = from_text(APEX.format(serial=1) + text, ORIGIN, "pool")
    return {key: rrset for key, rrset in read.items() if key in OWNED}


def answers(text: str) -> dict[str, frozenset[str]]:
    """Return what a server that serves `text` answers for the pool."""
    return answers_of(records(text))


def answers_of(found: Records) -> dict[str, frozenset[str]]:
    """Return the same for records of a whole zone."""
    return {
        dns.rdatatype.to_text(kind): frozenset(
            rdata.to_text() for rdata in (found[POOL, kind].rdatas if (POOL, kind) in found else ())
        )
        for kind in (RdataType.A, RdataType.AAAA)
    }


def _shown(serial: int) -> str:
    """Return a serial as text; one that the server took from its clock is not told."""
    return "one of its clock" if abs(serial - time.time()) < 86_400 else str(serial)


@contextmanager
def opened(setup: Setup, folder: Path) -> Iterator[Cell]:
    """Yield a cell of `setup`; what it has started ends with it."""
    cell = Cell(setup, folder)
    try:
        yield cell
    finally:
        if hasattr(cell, "server"):
            cell.server.stop()

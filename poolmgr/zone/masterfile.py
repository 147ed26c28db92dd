"""Master files (RFC 1035 section 5) to entries that know their line, and whether they make a zone."""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.name
import dns.node
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.zonefile

from poolmgr.errors import PoolmgrError, ZoneError
from poolmgr.zone.records import Records, RRset, RRsetKey

MAX_DEPTH = 10
"""Files that include each other."""

ReadFile = Callable[[str], str]
"""Returns the text of the file at a path, or raises PoolmgrError."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with an entry of a file. Line 0 stands for the file as a whole."""

    source: str
    line: int
    sentence: str

    def __str__(self) -> str:
        """Return file, line and sentence, as errors and editors know them."""
        return f"{self.source}:{self.line}: {self.sentence}" if self.line else f"{self.source}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a master file, and the line where it begins. The TTL is in seconds; names are absolute."""

    owner: dns.name.Name
    ttl: int
    rdata: dns.rdata.Rdata
    source: str
    line: int

    @property
    def key(self) -> RRsetKey:
        """The RRset that it belongs to."""
        return (self.owner, self.rdata.rdtype)

    def problem(self, sentence: str) -> Problem:
        """Return the problem that `sentence` tells of this entry."""
        return Problem(self.source, self.line, sentence)

    def seen_from(self, other: Entry) -> str:
        """Return where it is, for a sentence about `other`."""
        return f"line {self.line}" if self.source == other.source else f"{self.source}:{self.line}"


def read_entries(
    text: str, origin: dns.name.Name, source: str, read: ReadFile | None = None
) -> tuple[tuple[Entry, ...], tuple[Problem, ...]]:
    """Return the records of the master file `text`, and every entry that is none. The class is IN.

    $INCLUDE takes paths relative to the folder of the file that says it; `read` gives those files, and without it
    $INCLUDE is a problem. What an included file says of origin and owner holds to its end (RFC 1035 section 5.1), what
    it says of the TTL for what follows too, as it does for named and nsd.
    """
    gathered = _Gathered(dns.zonefile.RRSetsReaderManager(origin), replacement=True, read_only=False)
    reader = dns.zonefile.Reader(dns.tokenizer.Tokenizer("", source), dns.rdataclass.IN, gathered)
    # The reader drops what lies outside its zone without a word: it is given all.
    reader.zone_origin = dns.name.root
    problems: list[Problem] = []
    _read_file(text, (source,), reader, gathered, read, problems)
    return tuple(gathered.entries), tuple(problems)


class _Gathered(dns.zonefile.RRsetsReaderTransaction):
    """Where dnspython's reader puts what it reads: kept one by one, with the line that `entry` is at."""

    source = ""
    line = 0

    def __init__(self, manager: dns.zonefile.RRSetsReaderManager, *, replacement: bool, read_only: bool) -> None:
        super().__init__(manager, replacement, read_only)  # type: ignore[no-untyped-call]  # dnspython's gap
        self.entries: list[Entry] = []

    def add(self, *record: Any) -> None:  # noqa: ANN401 -- the signature is the base class's
        owner, ttl, rdata = record
        self.entries.append(Entry(owner, ttl, rdata, self.source, self.line))


def _read_file(
    text: str,
    files: tuple[str, ...],
    reader: dns.zonefile.Reader,
    gathered: _Gathered,
    read: ReadFile | None,
    problems: list[Problem],
) -> None:
    """Read `text`, of the last of `files`, each of which includes the next one."""
    source = files[-1]
    for line, entry in _split(text):
        gathered.source, gathered.line = source, line
        reader.tok = dns.tokenizer.Tokenizer(entry, source)
        try:
            if read is not None and _INCLUDE.match(entry):
                name, inside = _included(reader)
                path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
                if path in files or len(files) > MAX_DEPTH:
                    raise ZoneError(f"{path} includes itself, or is more than {MAX_DEPTH} files deep: remove this line")
                _read_file(read(path), (*files, path), inside, gathered, read, problems)
                for state in _TTL_STATE:
                    setattr(reader, state, getattr(inside, state))
            else:
                reader.read()
        except (dns.exception.DNSException, ValueError) as error:
            said = str(error).removeprefix(f"{source}:{reader.tok.where()[1]}: ")
            shown = ascii(entry.strip()[:_SHOWN])
            problems.append(Problem(source, line, f"not a zone file: {shown} cannot be read: {said or 'mend it'}"))
        except PoolmgrError as error:
            problems.append(Problem(source, line, f"$INCLUDE: {error}"))


def _included(reader: dns.zonefile.Reader) -> tuple[str, dns.zonefile.Reader]:
    """Return the path that an $INCLUDE names, and the reader that the file begins with."""
    reader.tok.get()
    name = reader.tok.get().unescape()
    inside = copy.copy(reader)
    if not (name.is_identifier() or name.is_quoted_string()):
        raise ValueError("it names no file")
    origin = reader.tok.get()
    if not origin.is_eol_or_eof():
        inside.current_origin = reader.tok.as_name(origin, reader.current_origin)
        reader.tok.get_eol()
    return name.value, inside


_TTL_STATE = ("last_ttl", "last_ttl_known", "default_ttl", "default_ttl_known", "default_ttl_from_soa")
"""What dnspython's reader knows of TTLs that are not said."""

_SHOWN = 60
"""Characters of an entry that are quoted where it is wrong."""

_INCLUDE = re.compile(r"\$INCLUDE(?!\S)", re.IGNORECASE)
_NEWLINE = re.compile(r"\r\n|\n|\r")
_SIGN = re.compile(r'\\.|"(?:\\.|[^"\\])*"?|;.*|[()]')


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Yield the entries of a master file, each with its first line: parentheses join lines (RFC 1035 section 5.1).

    Read one by one, an entry that is wrong spoils no other.
    """
    first, depth, lines = 1, 0, []
    for number, line in enumerate(_NEWLINE.split(text), 1):
        lines.append(line)
        if "(" in line or ")" in line:
            signs = _SIGN.findall(line)
            depth += signs.count("(") - signs.count(")")
        if depth <= 0:
            yield first, "\n".join(lines)
            first, depth, lines = number + 1, 0, []
    if lines:
        yield first, "\n".join(lines)


def misplaced(entries: Iterable[Entry], origin: dns.name.Name) -> Iterator[Problem]:
    """Yield what cannot be in an unsigned zone of the name `origin`.

    That is a record outside of the zone, a signature, a second SOA or CNAME at a name, an SOA below the apex, and a
    CNAME beside other data (RFC 1034 section 3.6.2).
    """
    first: dict[RRsetKey, Entry] = {}
    kinds: dict[tuple[dns.name.Name, dns.node.NodeKind], Entry] = {}
    for entry in entries:
        owner, rdtype = entry.key
        kind = dns.rdatatype.to_text(rdtype)
        before = first.setdefault(entry.key, entry)
        if not owner.is_subdomain(origin):
            yield entry.problem(f"{owner} lies outside the zone {origin}: remove it, or mend a missing final dot")
            continue
        if rdtype == dns.rdatatype.RRSIG:
            yield entry.problem(f"{owner} has signatures: give the unsigned zone, the name server signs it")
        if dns.rdatatype.is_singleton(rdtype) and before.rdata != entry.rdata:
            yield entry.problem(
                f"a second {kind} record at {owner}, the first is in {before.seen_from(entry)}: remove one"
            )
        if rdtype == dns.rdatatype.SOA and owner != origin:
            yield entry.problem(f"an SOA at {owner}, which is not the zone's name {origin}: remove it")
        node = dns.node.NodeKind.classify(rdtype, dns.rdatatype.NONE)
        kinds.setdefault((owner, node), entry)
        other = kinds.get((owner, _UNLIKE[node])) if node in _UNLIKE else None
        if other is not None and before is entry:
            yield entry.problem(
                f"{kind} and {dns.rdatatype.to_text(other.rdata.rdtype)} ({other.seen_from(entry)}) at {owner}: "
                "a CNAME stands alone, remove it or the others"
            )


_UNLIKE = {
    dns.node.NodeKind.CNAME: dns.node.NodeKind.REGULAR,
    dns.node.NodeKind.REGULAR: dns.node.NodeKind.CNAME,
}


def missing(entries: Iterable[Entry], origin: dns.name.Name, source: str) -> Iterator[Problem]:
    """Yield what the file `source` lacks to be a zone of the name `origin` (RFC 1035 section 5.2)."""
    there = {entry.key for entry in entries}
    for rdtype in (dns.rdatatype.SOA, dns.rdatatype.NS):
        if (origin, rdtype) not in there:
            yield Problem(source, 0, f"no {dns.rdatatype.to_text(rdtype)} record at the apex {origin}: add it")


def refuse(problems: Iterable[Problem]) -> None:
    """Raise ZoneError with a line for each of `problems`, if there are any."""
    lines = [str(problem) for problem in sorted(set(problems))]
    if lines:
        raise ZoneError("\n".join(lines))


def records_of(entries: Iterable[Entry]) -> Records:
    """Return the RRsets of `entries`; each has the smallest TTL of its records (RFC 2181 section 5.2)."""
    rdatas: dict[RRsetKey, set[dns.rdata.Rdata]] = {}
    ttls: dict[RRsetKey, int] = {}
    for entry in entries:
        rdatas.setdefault(entry.key, set()).add(entry.rdata)
        ttls[entry.key] = min(entry.ttl, ttls.get(entry.key, entry.ttl))
    return {key: RRset(*key, ttls[key], frozenset(rdatas[key])) for key in rdatas}

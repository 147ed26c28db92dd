"""In which country each address is: what the operator says of it, else what a GeoIP file does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from poolmgr.countries import parse_country
from poolmgr.errors import ParseError, PoolmgrError
from poolmgr.hosts import HostName, IPAddress, IPNetwork
from poolmgr.model import Keyserver, KeyserverAddress, Snapshot

if TYPE_CHECKING:
    import maxminddb

EXTRA = "pip install 'poolmgr[geo]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Geography:
    """Where countries are known from: a GeoIP `file`, and above it what is set by hand.

    `names` are keyservers, by name or alias, `networks` addresses and networks, each with its country's code in lower
    case. A name beats a network, and a network a larger one.
    """

    file: Path | None = None
    names: Mapping[HostName, str] = field(default_factory=dict)
    networks: Mapping[IPNetwork, str] = field(default_factory=dict)


class Atlas:
    """An open Geography. Use it in a `with`.

    Raises PoolmgrError where its file cannot be used.
    """

    def __init__(self, geography: Geography) -> None:
        self._by_hand = geography
        self._open = ExitStack()
        self._file: Callable[[IPAddress], str | None] | None = None
        if geography.file is not None:
            reader = self._open.enter_context(_opened(geography.file))
            path = geography.file
            self._file = lambda address: _looked_up(reader, address, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._open.close()

    def locate(self, snapshot: Snapshot) -> Snapshot:
        """Return `snapshot` with the country of each address. Raises PoolmgrError where the file is damaged."""
        if self._by_hand == Geography():
            return snapshot
        keyservers = tuple(
            replace(keyserver, addresses=tuple(self._located(keyserver, each) for each in keyserver.addresses))
            for keyserver in snapshot.keyservers
        )
        return replace(snapshot, keyservers=keyservers)

    def _located(self, keyserver: Keyserver, address: KeyserverAddress) -> KeyserverAddress:
        country = self._set_by_hand(keyserver, address.address)
        if country is None and self._file is not None:
            country = self._file(address.address)
        return replace(address, country=country)

    def _set_by_hand(self, keyserver: Keyserver, address: IPAddress) -> str | None:
        for host in keyserver.hosts:
            if isinstance(host, HostName) and host in self._by_hand.names:
                return self._by_hand.names[host]
        holding = [network for network in self._by_hand.networks if address in network]
        return self._by_hand.networks[max(holding, key=lambda each: each.prefixlen)] if holding else None


def check_geography(geography: Geography) -> None:
    """Raise PoolmgrError where the file of `geography` cannot be used."""
    with Atlas(geography):
        pass


def _opened(path: Path) -> maxminddb.Reader:
    try:
        import maxminddb  # noqa: PLC0415 -- an extra, and needed by few
    except ImportError as error:
        raise PoolmgrError(
            f"crawl.geo: {path} is read by the package maxminddb, which is not installed: {EXTRA}"
        ) from error
    try:
        return maxminddb.open_database(path)
    except OSError as error:
        raise PoolmgrError(f"crawl.geo: cannot read {path}: {error.strerror or error}") from error
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise PoolmgrError(
            f"crawl.geo: {path} is no MaxMind DB file: give one, such as GeoLite2-Country.mmdb"
        ) from error


def _looked_up(reader: maxminddb.Reader, address: IPAddress, path: Path) -> str | None:
    """Return the country of `address`: where it is, else where its network is registered."""
    import maxminddb  # noqa: PLC0415 -- the same

    if address.version == 6 and reader.metadata().ip_version == 4:
        return None
    try:
        record = reader.get(address)
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise PoolmgrError(f"crawl.geo: {path} is damaged where it has {address}: fetch it again") from error
    for key in ("country", "registered_country"):
        found = record.get(key) if isinstance(record, dict) else None
        code = found.get("iso_code") if isinstance(found, dict) else None
        if isinstance(code, str):
            try:
                return parse_country(code)
            except ParseError:
                continue
    return None

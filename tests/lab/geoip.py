"""GeoIP files as MaxMind publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write_geoip(path: Path, countries: Mapping[str, str | dict[str, Any]], *, ip_version: int = 6) -> Path:
    """Write a file that has a record for each network, and return `path`. A text is a country's code."""
    writer = MMDBWriter(ip_version, "Lab-Country", ipv4_compatible=ip_version == 6)
    for network, record in countries.items():
        written = {"country": {"iso_code": record}} if isinstance(record, str) else record
        writer.insert_network(IPSet([network]), written)
    writer.to_db_file(str(path))
    return path

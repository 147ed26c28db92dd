"""What the tests of crawls stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.crawls import Lab
from tests.lab.hostile import add_good
from tests.lab.mesh import Mesh
from tests.lab.named import Named
from tests.lab.nameserver import Nameserver


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A mesh and a nameserver, both empty and running."""
    with Mesh() as mesh, Nameserver() as nameserver:
        yield Lab(mesh, nameserver)


@pytest.fixture
def good(lab: Lab) -> Lab:
    """Three good keyservers that list a liar, which the test adds."""
    add_good(lab)
    return lab


@pytest.fixture
def start_named(need: Callable[..., None], tmp_path: Path) -> Iterator[Callable[..., Named]]:
    """Starts a named for the zone example.org, with the options it is given."""
    need("named")
    started: list[Named] = []

    def start(**options: Any) -> Named:  # noqa: ANN401  # those of Named
        started.append(Named(tmp_path / f"named{len(started)}", "example.org.", **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def named(start_named: Callable[..., Named]) -> Named:
    """A primary of example.org that takes updates."""
    return start_named()

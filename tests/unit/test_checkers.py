from __future__ import annotations

from pathlib import Path

import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.checkers import PROGRAMS, Checker, check_file, find_checkers
from tests.build import ORIGIN, SKELETON
from tests.conftest import Need


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("poolmgr.publish.command.SYSTEM_FOLDERS", ())
    return tmp_path


def install(folder: Path, *programs: str) -> None:
    for program in programs:
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)


def test_checkers_are_asked_without_a_look_up_beyond_the_zone() -> None:
    path = Path("/zones/example.zone")
    assert {checker: checker.words(ORIGIN, path) for checker in PROGRAMS} == {
        Checker.NAMED: ("named-checkzone", "-i", "local", "example.org.", "/zones/example.zone"),
        Checker.NSD: ("nsd-checkzone", "example.org.", "/zones/example.zone"),
        Checker.KNOT: ("kzonecheck", "-o", "example.org.", "/zones/example.zone"),
    }


def test_auto_is_all_that_are_installed(folder: Path) -> None:
    install(folder, "nsd-checkzone", "kzonecheck")
    assert find_checkers([Checker.AUTO]) == (Checker.NSD, Checker.KNOT)
    assert find_checkers([Checker.KNOT, Checker.AUTO]) == (Checker.KNOT, Checker.NSD)
    assert find_checkers([]) == ()


def test_auto_with_nothing_installed_is_an_error_that_names_all(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    with pytest.raises(PublishError, match=r"named-checkzone \(Debian package bind9-utils\), nsd-.*knot-dnssecutils"):
        find_checkers([Checker.AUTO])


@pytest.mark.parametrize("checker", PROGRAMS)
def test_one_that_is_named_and_missing_is_an_error_that_names_its_package(folder: Path, checker: Checker) -> None:
    install(folder, *(program for program in PROGRAMS if program is not checker))
    with pytest.raises(PublishError, match=f"^{checker} is not installed: install the .* package {checker.package}, "):
        find_checkers([Checker.AUTO, checker])


@pytest.mark.parametrize("checker", PROGRAMS)
def test_every_checker_takes_a_good_file_and_tells_of_a_bad_one(need: Need, tmp_path: Path, checker: Checker) -> None:
    need(checker)
    path = tmp_path / "a.zone"
    path.write_text(SKELETON)
    check_file([checker], ORIGIN, path)
    path.write_text(SKELETON + "www CNAME ns1\nwww A 192.0.2.1\n")
    with pytest.raises(PublishError, match=rf"^{checker} .* failed with exit code 1: .*CNAME"):
        check_file([checker], ORIGIN, path)

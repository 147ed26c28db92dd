from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.command import MAX_OUTPUT, find_program, run
from tests.lab.process import wait_until

SECOND = timedelta(seconds=1)
LONG = timedelta(seconds=60)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed orphan stays as a zombie where nobody reaps it.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_a_program_that_exits_with_0_returns_whatever_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    run(python("import sys; print('out'); print('err', file=sys.stderr)"), LONG)
    assert capfd.readouterr() == ("", "")


def test_an_exit_code_is_told_with_the_output_in_one_escaped_line() -> None:
    with pytest.raises(PublishError, match=r"failed with exit code 3: zone bad\.; \\x1b\[31mline 2$"):
        run(python(r"print('zone bad.\n\n\x1b[31mline 2'); raise SystemExit(3)"), LONG)


def test_a_silent_failure_is_told_as_such() -> None:
    with pytest.raises(PublishError, match=r"exit code 1: nothing$"):
        run(python("raise SystemExit(1)"), LONG)


def test_output_is_quoted_up_to_a_limit() -> None:
    with pytest.raises(PublishError) as caught:
        run(python("print('x' * 1_000_000); raise SystemExit(1)"), LONG)
    assert str(caught.value).count("x") <= MAX_OUTPUT + 10


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time; print('started', flush=True);"
        f"p = subprocess.Popen(['sleep', '600']); open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    with pytest.raises(PublishError, match="ran longer than 1 s and was given up; it said: started"):
        run(python(code), SECOND)
    pid = int(child.read_text())
    wait_until(lambda: not is_running(pid), "the child is gone")


@pytest.mark.filterwarnings("ignore:.*subprocess.*is still running:ResourceWarning")
def test_a_program_of_another_user_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    started = tmp_path / "pid"
    code = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(os, "killpg", refuse)
    with pytest.raises(PublishError, match="ran longer than 1 s and was given up"):
        run(python(code), SECOND)
    os.kill(int(started.read_text()), 9)


def test_a_child_that_stays_in_the_background_keeps_nobody_waiting(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"import subprocess; p = subprocess.Popen(['sleep', '600']); open({str(child)!r}, 'w').write(str(p.pid))"
    try:
        run(("sh", "-c", f'"{sys.executable}" -W ignore -c "$0"', code), LONG)
    finally:
        os.kill(int(child.read_text()), 9)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PublishError, match=r"^no-such-program is not installed"):
        run(("no-such-program",), LONG)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program("ldconfig") is not None, "sbin is searched, whatever PATH cron gives"


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "reload"
    path.write_bytes(b"\x00")
    path.chmod(0o755)
    with pytest.raises(PublishError, match=f"cannot run {path}: Exec format error"):
        run((str(path),), LONG)


def test_no_shell_reads_the_words(tmp_path: Path) -> None:
    run(("touch", f"{tmp_path}/a b;c $HOME"), LONG)
    assert [path.name for path in tmp_path.iterdir()] == ["a b;c $HOME"]

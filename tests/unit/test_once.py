"""What is worked out once for the same objects, and anew for others, however equal."""

from __future__ import annotations

from poolmgr.judge.once import once


def test_the_same_objects_are_worked_out_once() -> None:
    calls: list[list[int]] = []

    @once
    def total(numbers: list[int], more: int) -> int:
        calls.append(numbers)
        return sum(numbers) + more

    one, equal = [1, 2], [1, 2]
    assert [total(one, 1), total(one, 1), total(equal, 1), total(equal, 2), total(one, 1)] == [4, 4, 4, 5, 4]
    assert [each is one for each in calls] == [True, False, False, True]

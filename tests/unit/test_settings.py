from __future__ import annotations

from pathlib import Path

import pytest

from poolmgr.config import load_config
from poolmgr.config.settings import parse_setting, with_settings
from poolmgr.errors import ConfigError

TEXT = """\
crawl: {seeds: [a.example.net], search: someone}
policy: {min_cohort: 4}
pools: [{name: a.example.org}, {name: b.example.org, ttl: 1h}]
zone: {origin: example.org}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def test_a_setting_takes_the_place_of_what_the_file_says_and_leaves_the_rest(path: Path) -> None:
    before = load_config(path)
    after = load_config(path, ["policy.min_cohort=3", "pools.1.max_records=7", "policy.exclude=[a.example.net]"])
    assert (before.policy.min_cohort, after.policy.min_cohort) == (4, 3)
    assert [pool.max_records for pool in after.pools] == [before.pools[0].max_records, 7]
    assert after.pools[1].ttl == before.pools[1].ttl
    assert after.policy.exclude
    assert after.zones[0].origin == before.zones[0].origin


def test_a_section_that_the_file_lacks_is_made(path: Path) -> None:
    assert load_config(path, ["state.keep=7d"]).keep.days == 7


def test_the_values_of_the_file_are_left_as_they_are() -> None:
    value = {"policy": {"min_cohort": 4}}
    assert with_settings(value, [parse_setting("policy.min_cohort=3")]).value == {"policy": {"min_cohort": 3}}
    assert value == {"policy": {"min_cohort": 4}}


def test_the_last_of_two_settings_counts(path: Path) -> None:
    assert load_config(path, ["policy.min_cohort=3", "policy.min_cohort=5"]).policy.min_cohort == 5


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("policy.min_cohort=x", "--set policy.min_cohort: 'x' is not a whole number from 1 to 1000"),
        ("policy.min_cohrt=3", "--set policy.min_cohrt: is not a key of this section, did you mean min_cohort?"),
        ("pools.1.ttl=1s", "--set pools.1.ttl: '1s' is out of range: give 1m to 7d"),
        ("pools.0.min_members={ipv4: 3, ipv5: 1}", "--set pools.0.min_members.ipv5: is not a key of this section"),
        ("pools.2.ttl=1h", "--set pools.2.ttl: there is no '2' at that place of the file"),
        ("policy.min_cohort.more.x=1", "--set policy.min_cohort.more.x: there is no 'more' at that place of the file"),
        ("policy.min_cohort.more=1", "--set policy.min_cohort.more: there is no 'more' at that place of the file"),
        ("policy.min_cohort", "--set 'policy.min_cohort': write it as key=value, such as policy.min_cohort=3"),
        ("=3", "--set '=3': write it as key=value"),
        ("policy.exclude=[a", "--set policy.exclude:1:10: not readable as YAML"),
        ("policy.exclude=a\nb: 1", "--set policy.exclude: 'a\\nb: 1' is not one value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_key(path: Path, setting: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path, [setting])
    (problem,) = caught.value.problems
    assert problem.startswith(sentence)


def test_problems_of_the_file_keep_their_lines(path: Path) -> None:
    path.write_text(TEXT.replace("min_cohort: 4", "min_cohort: 0"))
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["pools.1.ttl=1s"])
    of_setting, of_file = caught.value.problems
    assert of_setting.startswith("--set pools.1.ttl: ")
    assert of_file.startswith(f"{path}:2:10: policy.min_cohort: ")

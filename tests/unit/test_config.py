from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr import __version__
from poolmgr.config import Config, Zone, json_schema, load_config
from poolmgr.config.document import MAX_BYTES, parse_document
from poolmgr.config.fields import HOST, NETWORK, OVERRIDE, SOCKET, Scalar, duration, duration_text, size, size_text
from poolmgr.config.rules import broken_rules
from poolmgr.config.schema import validate
from poolmgr.crawl.blindness import SelfCheck
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.geo import Geography
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Canary, Exchange, Search
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import Crawl
from poolmgr.errors import ConfigError, ParseError
from poolmgr.hosts import parse_host
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Family, Outcome, Service
from poolmgr.pools import Allowance, Overrides, Pool, Vhost, WhenShort
from poolmgr.publish.checkers import Checker
from poolmgr.publish.rfc2136 import Primary, Tls
from poolmgr.publish.tsig import KeyFile, SecretFile, SecretInEnvironment
from poolmgr.publish.zonefile import Verify, ZoneFile
from poolmgr.version import Version
from poolmgr.zone.serial import Scheme
from tests.build import named

ROOT = Path(__file__).parents[2]
BAD_FILES = sorted((ROOT / "tests/data/config").glob("*.yaml"))
MINIMAL = """\
crawl: {seeds: [keyserver.example.org], search: admin}
pools: [{name: pool.example.org}]
zone: {origin: example.org}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    assert all(problem.startswith(f"{path}:") for problem in refusal.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in refusal.value.problems]


def expected_of(path: Path) -> list[str]:
    lines = path.read_bytes().decode("latin-1").splitlines()
    return [line.removeprefix("# ") for line in lines if re.match(r"# \d+:\d+: ", line)]


def name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


# Bad files


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_exactly_the_problems_in_its_first_lines(path: Path) -> None:
    assert expected_of(path)
    assert problems_of(path) == expected_of(path)


def sentences(module: Path) -> Iterator[str]:
    """Yield each sentence that a module can say as a regular expression, with any text for its variable parts."""
    tree = ast.parse(module.read_text())
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = [node.value]
        else:
            continue
        text = "".join(parts)
        if len(re.findall(r"[a-z]{2,}", re.sub(r"\{\w*\}", "", text))) >= 3 and " " in text:
            yield ".*".join(re.escape(part) for part in re.split(r"\{\w*\}", text))


def test_every_sentence_of_the_code_has_a_bad_file() -> None:
    said = "\n".join(line for path in BAD_FILES for line in expected_of(path))
    modules = [ROOT / f"poolmgr/config/{module}.py" for module in ("document", "fields", "schema", "rules")]
    found = [sentence for module in modules for sentence in sentences(module)]
    elsewhere = re.escape(" is larger than ")  # such a file is made in a test of its own
    missing = [sentence for sentence in found if elsewhere not in sentence and not re.search(sentence, said)]
    assert len(found) > 40
    assert missing == []


def test_a_missing_file_is_refused_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file or directory; .*-c"):
        load_config(tmp_path / "absent.yaml")


def test_a_folder_is_refused_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_file_at_the_size_limit_is_read_and_one_above_is_refused(write: Write) -> None:
    padded = MINIMAL + "#" * (MAX_BYTES - len(MINIMAL))
    assert load_config(write(padded)).zones[0].origin == name("example.org")
    with pytest.raises(ConfigError, match=f"larger than {MAX_BYTES} bytes"):
        load_config(write(padded + "#"))


def test_a_byte_order_mark_is_skipped_and_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(path).zones[0].origin == name("example.org")
    path.write_bytes("\ufeff# éé".encode() + b"\xff")
    assert problems_of(path) == ["1:5: not readable as YAML: it is not UTF-8 text: save the file as UTF-8"]


def test_no_problem_shows_what_may_be_a_secret(write: Write) -> None:
    key = "{name: k, algorithm: hmac-sha256, environment: c2VjcmV0IHNlY3JldA==, secret: c2VjcmV0IHNlY3JldA==}"
    path = write(f"{MINIMAL}publish: [{{type: rfc2136, server: 192.0.2.53, key: {key}}}]\n")
    problems = "\n".join(problems_of(path))
    assert "publish[0].key.secret: is not a key of this section, did you mean secret_file?" in problems
    assert "publish[0].key.environment: is not the name of an environment variable" in problems
    assert "c2Vj" not in problems


def test_hostile_text_is_cut_and_escaped(write: Write) -> None:
    path = write(f'{MINIMAL}policy: {{"\\e]0;x{"y" * 300}": 1, min_cohort: "\\e[2J{"z" * 300}"}}\n')
    for problem in problems_of(path):
        assert problem.isascii()
        assert problem.isprintable()
        assert "y" * 61 not in problem
        assert "z" * 61 not in problem


KEYS = st.sampled_from(sorted({key for section in json_schema()["$defs"].values() for key in section["properties"]}))
WORDS = st.sampled_from(["zonefile", "rfc2136", "ipv6", "example.org", "a.example.org", "5m", "50%", "1.1.6", "[key]"])
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(0, 9) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6),
    max_leaves=30,
)
FILES = st.fixed_dictionaries(
    {"crawl": VALUES, "pools": st.lists(VALUES, max_size=2), "zone": VALUES, "publish": st.lists(VALUES, max_size=2)}
)


@settings(deadline=None)  # a busy machine is not a fault
@given(FILES | VALUES)
def test_any_values_give_a_config_or_problems_in_our_own_words(value: object) -> None:
    file, invalid = validate(value)
    broken = broken_rules(value, Path("/etc"))
    assert (file is None) == bool(invalid)
    for problem in (*invalid, *broken):
        assert not re.search(r"[Ii]nput|Value error|pydantic|https://errors", problem.sentence)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("{}[]:,-?&*!|>'\"%@`#\\ \nauxU0", max_size=60).map(str.encode))
def test_any_bytes_give_a_document_or_a_config_error(content: bytes) -> None:
    try:
        said = [f"{mark.line}:{mark.column}" for mark in parse_document(content, "config.yaml").marks.values()]
    except ConfigError as error:
        said = [problem.removeprefix("config.yaml:") for problem in error.problems]
    assert all(re.match(r"\d+:\d+(: not readable as YAML: .|$)", text) for text in said)


# What a file becomes


def test_a_minimal_file_has_the_defaults_of_the_stages(write: Write) -> None:
    path = write(MINIMAL)
    pool = name("pool.example.org")
    config = load_config(path)
    assert config == Config(
        path=path,
        state=Path("/var/lib/poolmgr"),
        keep=timedelta(days=90),
        keep_thinned=timedelta(days=730),
        crawl=Crawl(
            seeds=(named("keyserver.example.org"),),
            lookup=Search("admin"),
            hosts=(named("pool.example.org"),),
            exchange=Exchange(user_agent=f"poolmgr/{__version__}"),
        ),
        membership=None,
        forget_after=timedelta(days=30),
        self_check=SelfCheck(targets=dict.fromkeys(Family, ())),
        policy=Policy(),
        pools=(
            Pool(
                name=pool,
                host=named("pool.example.org"),
                families=frozenset(Family),
                services=frozenset({Service.HKP}),
                min_members={Family.IPV4: 3, Family.IPV6: 0},
            ),
        ),
        zones=(
            Zone(
                origin=name("example.org"),
                skeleton=None,
                serial=Scheme.UNIXTIME,
                max_age=timedelta(hours=1),
                pools=config.pools,
            ),
        ),
        targets=(),
    )


def test_a_pool_is_in_the_zone_with_the_longest_origin_and_a_target_says_its_zone(write: Write) -> None:
    path = write("""
crawl: {seeds: [keyserver.example.org], search: admin}
pools: [{name: pool.example.org}, {name: pool.eu.example.org}, {name: eu.example.org}, {name: neu.example.org}]
zone: [{origin: example.org, skeleton: main.zone}, {origin: eu.example.org}]
publish:
  - {type: rfc2136, zone: EU.example.org, server: 192.0.2.1, key: {file: k}}
  - {type: rfc2136, zone: example.org, server: 192.0.2.1, key: {file: k}}
  - {type: zonefile, zone: example.org, file: served.zone}
""")
    config = load_config(path)
    shown = {str(zone.origin): [str(pool.name).partition(".")[0] for pool in zone.pools] for zone in config.zones}
    assert shown == {"example.org.": ["pool", "neu"], "eu.example.org.": ["pool", "eu"]}
    assert [pool.name for pool in config.zones[1].pools] == [name("pool.eu.example.org"), name("eu.example.org")]
    served = [(target.label, str(target.zone.origin)) for target in config.targets]
    assert served == [
        ("primary 192.0.2.1 port 53, zone eu.example.org", "eu.example.org."),
        ("primary 192.0.2.1 port 53, zone example.org", "example.org."),
        (f"zone file {path.parent / 'served.zone'}", "example.org."),
    ]


def test_a_pool_may_ask_for_just_the_lag_of_the_policy(write: Write) -> None:
    text = MINIMAL.replace("name: pool.example.org", "name: pool.example.org, max_lag: 36h")
    assert load_config(write(text)).pools[0].max_lag == timedelta(hours=36)
    shorter = write(f"{text}policy: {{max_lag: 35h}}\n")
    assert problems_of(shorter) == [
        "2:34: pools[0].max_lag: is over policy.max_lag, 1d11h, which holds for all pools: give less"
    ]


def test_every_value_reaches_its_stage(write: Write) -> None:
    path = write("""
state: {folder: state, keep: 30d, keep_thinned: 60d}
crawl:
  seeds: [A.example.org., 192.0.2.1, "2001:db8::1"]
  membership: sks/membership
  canary: 0x0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567
  nameservers: [127.0.0.1, "127.0.0.1:5353", "[::1]:5353", "::1"]
  dns_timeout: 1s
  deadline: 1m30s
  max_bytes: 512KiB
  max_depth: 1
  max_keyservers: 2
  max_peers: 3
  max_addresses: 4
  workers: 5
  retries: 0
  samples: 3
  politeness: {in_flight: 6, per_crawl: 7}
  forget_after: 8d
  ca_file: roots.pem
  geo: countries.mmdb
  countries: {Ks.example.org: DE, 192.0.2.1: fr, "2001:db8::/32": us}
  contact: admin@example.org
  allow_networks: [127.0.0.0/8, "::1"]
  ports: {hkp: 1, http: 2, hkps: 3}
  self_check: {ipv4: [127.0.0.1, "127.0.0.1:80"], ipv6: ["[::1]:22"], name: up.example.org}
policy:
  minimum_versions: {hockeypuck: "2.2"}
  max_keys_behind: 6
  max_keys_ahead: 7
  max_lag: 31h
  enter_lag: 32h
  max_lead: 33h
  lag_tolerance: 34
  min_cohort: 8
  certificate_warning: 9d
  rise: 10
  fall: 11
  fast_fall: [reset, no-key]
  drop: 12
  min_reliability: 60%
  enter_reliability: 95%
  max_latency: 7s
  enter_latency: 3s
  min_seen: 30%
  probation: 12h
  flap_wait: 13m
  flap_limit: 14h
  forgive_after: 15d
  exclude: [bad.example.org, 192.0.2.66, "2001:db8:bad::/48"]
  include_only: [good.example.org]
pools:
  - name: example.org
    host: keys.example.org
    families: [ipv6]
    services: [hkp, http, hkps]
    vhost: either
    minimum_versions: {hockeypuck: "2.3"}
    exclude: [192.0.2.0/24]
    include_only: ["2001:db8::/32"]
    software: [hockeypuck]
    networks: ["2001:db8:1::/48"]
    countries: [DE, no]
    continents: [eu, as]
    proxied: true
    newest: true
    max_lag: 5h
    max_latency: 750ms
    max_records: 4
    min_members: {ipv6: 2}
    max_removed: {share: 25%, count: 3}
    max_added: 7
    per_network: 4
    rotate_every: 7d
    when_short: fallback
    fallback: ["2001:db8::1", "2001:db8::2"]
    ttl: 1h
  - {name: b.example.org, host: keys.example.org, min_members: 1, max_latency: 2s, dual_stack: true}
zone: {origin: Example.ORG., skeleton: zones/example.org.zone, serial: date, max_age: 2h}
publish:
  - type: zonefile
    file: /srv/example.org.zone
    check: [named-checkzone, nsd-checkzone]
    secondaries: ["::1"]
    secondaries_timeout: 4s
    secondaries_required: true
    reload: [rndc, reload]
    reload_timeout: 2s
    verify: {server: "[::1]:5353", timeout: 3s}
  - {type: zonefile, file: other.zone, check: auto}
""")
    folder = path.parent
    config = load_config(path)
    assert config.state == folder / "state"
    assert config.keep == timedelta(days=30)
    assert config.keep_thinned == timedelta(days=60)
    assert config.membership == folder / "sks/membership"
    loopback4, loopback6 = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")
    networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert config.crawl == Crawl(
        seeds=tuple(map(parse_host, ("a.example.org", "192.0.2.1", "2001:db8::1"))),
        lookup=Canary("0123456789ABCDEF0123456789ABCDEF01234567"),
        hosts=(named("keys.example.org"),),
        services=(Service.HKP, Service.HTTP, Service.HKPS),
        bounds=Bounds(max_depth=1, max_keyservers=2, max_peers=3, max_addresses=4, allow_networks=networks),
        exchange=Exchange(
            deadline=timedelta(seconds=90),
            max_bytes=512 * 1024,
            user_agent=f"poolmgr/{__version__} (+admin@example.org)",
        ),
        nameservers=Nameservers(
            servers=((loopback4, 53), (loopback4, 5353), (loopback6, 5353), (loopback6, 53)),
            timeout=timedelta(seconds=1),
        ),
        ports={Service.HKP: 1, Service.HTTP: 2, Service.HKPS: 3},
        workers=5,
        own_name=True,
        retries=0,
        samples=3,
        politeness=Politeness(in_flight=6, per_crawl=7),
        ca_file=folder / "roots.pem",
        geography=Geography(
            file=folder / "countries.mmdb",
            names={named("ks.example.org"): "de"},
            networks={ipaddress.ip_network("192.0.2.1"): "fr", ipaddress.ip_network("2001:db8::/32"): "us"},
        ),
    )
    assert config.forget_after == timedelta(days=8)
    assert config.self_check == SelfCheck(
        targets={Family.IPV4: ((loopback4, 443), (loopback4, 80)), Family.IPV6: ((loopback6, 22),)},
        name=named("up.example.org"),
    )
    assert config.policy == Policy(
        minimum_versions={"hockeypuck": Version.parse("2.2")},
        max_keys_behind=6,
        max_keys_ahead=7,
        max_lag=timedelta(hours=31),
        enter_lag=timedelta(hours=32),
        max_lead=timedelta(hours=33),
        lag_tolerance=34,
        min_cohort=8,
        quality=Quality(
            min_reliability=0.6,
            enter_reliability=0.95,
            max_latency=timedelta(seconds=7),
            enter_latency=timedelta(seconds=3),
        ),
        min_seen=0.3,
        certificate_warning=timedelta(days=9),
        steadiness=Steadiness(
            rise=10,
            fall=11,
            drop=12,
            probation=timedelta(hours=12),
            flap_wait=timedelta(minutes=13),
            flap_limit=timedelta(hours=14),
            forgive_after=timedelta(days=15),
        ),
        fast_fall=frozenset({Outcome.RESET, Outcome.NO_KEY}),
        exclude=Overrides(
            names=frozenset({named("bad.example.org")}),
            networks=(ipaddress.ip_network("192.0.2.66/32"), ipaddress.ip_network("2001:db8:bad::/48")),
        ),
        include_only=Overrides(names=frozenset({named("good.example.org")})),
    )
    assert config.pools[0] == Pool(
        name=name("example.org"),
        host=named("keys.example.org"),
        families=frozenset({Family.IPV6}),
        services=frozenset(Service),
        vhost=Vhost.EITHER,
        minimum_versions={"hockeypuck": Version.parse("2.3")},
        exclude=Overrides(networks=(ipaddress.ip_network("192.0.2.0/24"),)),
        include_only=Overrides(networks=(ipaddress.ip_network("2001:db8::/32"),)),
        software=frozenset({"hockeypuck"}),
        networks=(ipaddress.ip_network("2001:db8:1::/48"),),
        countries=frozenset({"de", "no"}),
        continents=frozenset({"eu", "as"}),
        proxied=True,
        newest=True,
        max_lag=timedelta(hours=5),
        max_latency=timedelta(milliseconds=750),
        max_records=4,
        min_members={Family.IPV6: 2},
        max_removed=Allowance(share=0.25, count=3),
        max_added=Allowance(count=7),
        per_network=4,
        rotate_every=timedelta(days=7),
        when_short=WhenShort.FALLBACK,
        fallback=(ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::2")),
        ttl=timedelta(hours=1),
    )
    assert (config.pools[1].max_latency, config.pools[1].dual_stack) == (timedelta(seconds=2), True)
    assert config.pools[1].min_members == {Family.IPV4: 1, Family.IPV6: 1}
    (zone,) = config.zones
    assert zone.origin == name("example.org")
    assert zone.skeleton == folder / "zones/example.org.zone"
    assert zone.serial is Scheme.DATE
    assert zone.max_age == timedelta(hours=2)
    assert zone.pools == config.pools
    assert [target.zone for target in config.targets] == [zone] * len(config.targets)
    assert [target.label for target in config.targets] == [target.at.label for target in config.targets]
    assert tuple(target.at for target in config.targets) == (
        ZoneFile(
            path=Path("/srv/example.org.zone"),
            checks=(Checker.NAMED, Checker.NSD),
            reload=("rndc", "reload"),
            reload_timeout=timedelta(seconds=2),
            verify=Verify(server=loopback6, port=5353, timeout=timedelta(seconds=3)),
            secondaries=((loopback6, 53),),
            secondaries_timeout=timedelta(seconds=4),
            secondaries_required=True,
        ),
        ZoneFile(path=folder / "other.zone", checks=(Checker.AUTO,)),
    )


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("{file: tsig.key}", KeyFile(Path("tsig.key"))),
        (
            "{name: k, algorithm: hmac-sha512, environment: SECRET}",
            SecretInEnvironment(name("k"), "hmac-sha512", "SECRET"),
        ),
        (
            "{name: k, algorithm: hmac-sha256, secret_file: /run/secret}",
            SecretFile(name("k"), "hmac-sha256", Path("/run/secret")),
        ),
    ],
)
def test_a_key_comes_from_one_of_three_places(
    write: Write, key: str, source: KeyFile | SecretInEnvironment | SecretFile
) -> None:
    path = write(f"{MINIMAL}publish: [{{type: rfc2136, server: 192.0.2.53:5353, timeout: 3s, key: {key}}}]\n")
    if isinstance(source, KeyFile):
        source = KeyFile(path.parent / source.path)
    server = ipaddress.ip_address("192.0.2.53")
    expected = Primary(server=server, port=5353, key=source, timeout=timedelta(seconds=3))
    (target,) = load_config(path).targets
    assert target.at == expected


def test_every_key_of_a_primary_is_read(write: Write) -> None:
    path = write(f"""{MINIMAL}publish:
  - type: rfc2136
    key: {{file: tsig.key}}
    read_key: {{file: read.key}}
    tls: {{name: ns1.example.org, ca_file: roots.pem}}
    soa_prerequisite: true
    secondaries: [192.0.2.54, "[2001:db8::54]:5353"]
    secondaries_timeout: 1m
    secondaries_required: true
    marker: us-1
""")
    (target,) = load_config(path).targets
    assert target.at == Primary(
        server=None,
        port=853,
        key=KeyFile(path.parent / "tsig.key"),
        read_key=KeyFile(path.parent / "read.key"),
        tls=Tls(name="ns1.example.org", ca_file=path.parent / "roots.pem"),
        soa_prerequisite=True,
        secondaries=((ipaddress.ip_address("192.0.2.54"), 53), (ipaddress.ip_address("2001:db8::54"), 5353)),
        secondaries_timeout=timedelta(minutes=1),
        secondaries_required=True,
        marker="us-1",
    )


@pytest.mark.parametrize(("more", "port"), [("", 53), (", tls: true", 853)])
def test_a_primary_has_the_usual_port_unless_it_says_another(write: Write, more: str, port: int) -> None:
    for server, expected in (("192.0.2.53", port), ("192.0.2.53:5353", 5353)):
        path = write(f"{MINIMAL}publish: [{{type: rfc2136, server: '{server}', key: {{file: k}}{more}}}]\n")
        (target,) = load_config(path).targets
        assert isinstance(target.at, Primary)
        assert (target.at.port, target.at.tls) == (expected, Tls() if more else None)


def test_crawl_nameservers_are_asked_for_a_primary_that_is_not_given(write: Write) -> None:
    text = MINIMAL.replace("crawl: {", "crawl: {nameservers: [192.0.2.1], ")
    for server, asked in (("", ((ipaddress.ip_address("192.0.2.1"), 53),)), ("server: 192.0.2.53, ", ())):
        (target,) = load_config(write(f"{text}publish: [{{type: rfc2136, {server}key: {{file: k}}}}]\n")).targets
        assert isinstance(target.at, Primary)
        assert target.at.nameservers == asked


@pytest.mark.parametrize(
    ("written", "allowance"),
    [
        ("50%", Allowance(share=0.5)),
        ("3", Allowance(count=3)),
        ("{share: 0%}", Allowance(share=0.0)),
        ("{share: 50%, count: 3}", Allowance(share=0.5, count=3)),
    ],
)
def test_what_one_run_may_change_is_a_share_a_number_or_both(write: Write, written: str, allowance: Allowance) -> None:
    pool = f"pool.example.org, max_removed: {written}, max_added: {written}"
    (loaded,) = load_config(write(MINIMAL.replace("pool.example.org", pool))).pools
    assert (loaded.max_removed, loaded.max_added) == (allowance, allowance)


def test_a_floor_may_be_as_high_as_the_cap(write: Write) -> None:
    pool = "pool.example.org, max_records: 4, min_members: 4"
    assert load_config(write(MINIMAL.replace("pool.example.org", pool))).pools[0].min_members[Family.IPV4] == 4


@pytest.mark.parametrize("kind", [SOCKET, HOST, NETWORK, OVERRIDE])
def test_an_address_has_no_interface_behind_it(kind: Scalar[object]) -> None:
    assert kind.parse("fe80::1")
    with pytest.raises(ParseError):
        kind.parse("fe80::1%eth0")


def test_aliases_are_written_out(write: Write) -> None:
    path = write(
        MINIMAL.replace("pool.example.org}", "pool.example.org, exclude: *bad}").replace(
            "crawl:", "policy: {exclude: &bad [bad.example.org]}\ncrawl:"
        )
    )
    config = load_config(path)
    assert config.pools[0].exclude == config.policy.exclude == Overrides(names=frozenset({named("bad.example.org")}))


def test_a_relative_path_of_the_config_file_still_gives_absolute_paths(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(f"{MINIMAL}state: {{folder: state}}\n")
    monkeypatch.chdir(path.parent)
    assert load_config(Path("config.yaml")).state == path.parent / "state"


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (duration(60 * SECOND, 120 * SECOND), ["60s", "1m", "1m60s", "2m"], ["59s", "0s", "2m1s", "999999d"]),
        (
            duration(SECOND, 60 * SECOND),
            ["1s", "60s"],
            ["1", "s", "1 s", "-1s", "1.5s", "1s1m", "1ms", "1S", "٣s", "1s\n"],
        ),
        (size(1024, 2048), ["1KiB", "1024B", "2KiB"], ["1023B", "2049B", "1kb", "1K", "1 KiB", "1MiB", ""]),
    ],
)
def test_limits_are_inside_and_everything_else_is_refused(
    kind: Scalar[object], inside: list[str], outside: list[str]
) -> None:
    for text in inside:
        assert kind.parse(text)
    for text in outside:
        with pytest.raises(ParseError):
            kind.parse(text)


@settings(deadline=None)
@given(st.integers(1, 999_999))
def test_durations_and_sizes_are_read_as_they_are_written(count: int) -> None:
    assert duration(SECOND, timedelta(days=12)).parse(duration_text(count * SECOND)) == count * SECOND
    for unit in (1, 1024, 1024**2):
        assert size(1, 2**40).parse(size_text(unit * count)) == unit * count

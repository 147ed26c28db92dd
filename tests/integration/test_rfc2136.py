from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from poolmgr.errors import Conflict, PublishError, ZoneError
from poolmgr.publish.target import Published
from poolmgr.publish.tsig import KeyFile, load_key
from poolmgr.publish.wire import NoReply
from poolmgr.zone.marker import check_markers, marker_key, marker_records
from poolmgr.zone.records import Records
from tests.build import ORIGIN, POOL, zone
from tests.lab.named import KEY_NAME, Named, write_key
from tests.lab.nsd import Nsd
from tests.lab.process import run
from tests.lab.scripted import Scripted, forward, framed, is_update
from tests.lab.updating import FIRST, OWNED, SECOND, Target, owned, plan, publish, publisher


def test_rrsets_are_created_changed_and_deleted_and_the_serial_counts(named: Named) -> None:
    target = publisher(named, named.key_file)
    empty = target.read()
    assert (empty.records, empty.serial, empty.served) == ({}, 2026010101, 2026010101)

    serials = [publish(target, owned(text)) for text in (FIRST, SECOND)]
    assert target.read().records == owned(SECOND)
    serials.append(publish(target, {}))
    assert serials == [2026010102, 2026010103, 2026010104]
    assert target.read() == Published({}, 2026010104, 2026010104)


def test_a_receipt_tells_the_primary_the_zone_and_the_serial(named: Named) -> None:
    target = publisher(named, named.key_file)
    receipt = target.publish(plan(target.read(), owned(FIRST)))
    assert target.label == f"primary 127.0.0.1 port {named.port}"
    assert receipt.sentence == f"{target.label} serves zone example.org. with serial 2026010102"


def test_a_plan_without_changes_leaves_the_serial(named: Named) -> None:
    target = publisher(named, named.key_file)
    publish(target, owned(FIRST))
    again = plan(target.read(), owned(FIRST))
    assert again.changes == ()
    assert target.read().serial == 2026010102


def test_records_that_are_not_owned_stay(named: Named) -> None:
    foreign = frozenset({(POOL, dns.rdatatype.TXT), (dns.name.from_text("www.example.org."), dns.rdatatype.A)})
    other = publisher(named, named.key_file, keys=foreign)
    theirs = {key: rrset for key, rrset in zone('pool 60 TXT "mine"\nwww 60 A 192.0.2.80\n').items() if key in foreign}
    publish(other, theirs)
    target = publisher(named, named.key_file)
    publish(target, owned(FIRST))
    publish(target, {})
    assert other.read().records == theirs


def test_five_hundred_addresses_are_published_in_one_update(start_named: Callable[..., Named]) -> None:
    named = start_named(zone_options=f"max-records-per-type 0; update-policy {{ grant {KEY_NAME} zonesub ANY; }};")
    many = owned("".join(f"pool 300 A 198.51.{number // 250}.{number % 250}\n" for number in range(500)))
    target = publisher(named, named.key_file)
    assert publish(target, many) == 2026010102
    assert target.read().records == many


def test_an_update_that_is_too_large_for_dns_is_refused_before_it_is_sent(named: Named) -> None:
    many = owned("".join(f"pool 300 A 10.0.{number // 250}.{number % 250}\n" for number in range(5000)))
    target = publisher(named, named.key_file)
    with pytest.raises(
        PublishError,
        match=r"in pool\.example\.org is larger than the 65535 octets.*: lower max_records",
    ):
        publish(target, many)
    assert target.read().serial == 2026010101


def test_a_zone_that_somebody_else_changed_meanwhile_is_left_alone(named: Named) -> None:
    target = publisher(named, named.key_file)
    created = plan(target.read(), owned(FIRST))
    publish(target, owned("pool 300 A 192.0.2.9\n"))
    with pytest.raises(PublishError, match=r"somebody else changed the zone.*: plan again \(YXRRSET\)"):
        target.publish(created)
    changed = plan(target.read(), owned(FIRST))
    publish(target, owned("pool 300 A 192.0.2.10\n"))
    with pytest.raises(PublishError, match=r": plan again \(NXRRSET\)"):
        target.publish(changed)
    assert target.read().records == owned("pool 300 A 192.0.2.10\n")


@pytest.mark.parametrize("wrong", ["name", "algorithm", "secret"])
def test_a_wrong_key_is_told_with_what_is_wrong_with_it(named: Named, tmp_path: Path, wrong: str) -> None:
    key_file = write_key(tmp_path / "mine.key", "no-such-key" if wrong == "name" else KEY_NAME)
    if wrong == "algorithm":
        key_file.write_text(named.key_file.read_text().replace("hmac-sha256", "hmac-sha512"))
    sentence = {
        "name": r"knows no TSIG key no-such-key\. with hmac-sha256.*give it this key.*\(BADKEY\)$",
        "algorithm": r"knows no TSIG key poolmgr-key\. with hmac-sha512.*\(BADKEY\)$",
        "secret": r"has another secret for the TSIG key poolmgr-key\.: copy it from there again \(BADSIG\)$",
    }[wrong]
    for attempt in (lambda: publisher(named, key_file).read(), lambda: update_only(named, key_file)):
        with pytest.raises(PublishError, match=sentence):
            attempt()
    assert publisher(named, named.key_file).read().serial == 2026010101


def update_only(server: Target, key_file: Path) -> None:
    """Send an update without a question before it."""
    publisher(server, key_file, timeout=1).publish(plan(Published({}, 2026010101), owned(FIRST)))


@pytest.mark.parametrize("offset", [3600, -3600])
def test_a_clock_that_is_off_is_told_with_the_difference(
    named: Named, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    real = time.time
    monkeypatch.setattr(dns.message, "time", SimpleNamespace(time=lambda: real() + offset))
    with pytest.raises(PublishError) as caught:
        update_only(named, named.key_file)
    # A second may pass between the two readings.
    assert re.search(
        r"UTC here: (3599|360[0-9]) s apart, 300 s are allowed: set both clocks \(BADTIME\)$", str(caught.value)
    )


def test_a_frozen_zone_is_told_with_the_remedy_and_written_after_the_thaw(named: Named) -> None:
    target = publisher(named, named.key_file)
    named.rndc("freeze", "example.org")
    with pytest.raises(PublishError, match=r"the zone is frozen \(rndc thaw, knotc zone-thaw\).*\(REFUSED\)$"):
        publish(target, owned(FIRST))
    named.rndc("thaw", "example.org")
    assert publish(target, owned(FIRST)) > 2026010101


def test_a_static_zone_is_told(start_named: Callable[..., Named]) -> None:
    named = start_named(zone_options="")
    with pytest.raises(PublishError, match=r"frozen \(rndc thaw, knotc zone-thaw\), static or a secondary"):
        publish(publisher(named, named.key_file), owned(FIRST))


def test_a_name_that_the_policy_forbids_is_told_with_key_name_and_type(start_named: Callable[..., Named]) -> None:
    named = start_named(zone_options=f"update-policy {{ grant {KEY_NAME} name pool.example.org. A; }};")
    target = publisher(named, named.key_file)
    sentence = r"let the key poolmgr-key\. write pool\.example\.org\. A, pool\.example\.org\. AAAA \(REFUSED\)$"
    with pytest.raises(PublishError, match=sentence):
        publish(target, owned(FIRST))
    assert target.read().records == {}, "an update is applied whole or not at all"
    with pytest.raises(PublishError, match=r"let the key other-key\. write pool\.example\.org\. A"):
        publish(publisher(named, named.other_key_file), owned(FIRST))


def test_records_that_the_policy_drops_without_a_word_are_missed_when_reading_back(
    start_named: Callable[..., Named],
) -> None:
    named = start_named(zone_options=f"update-policy {{ grant {KEY_NAME} name pool.example.org. A(2); }};")
    target = publisher(named, named.key_file, timeout=0.5)
    three = owned("pool 300 A 192.0.2.1\npool 300 A 192.0.2.2\npool 300 A 192.0.2.3\n")
    with pytest.raises(PublishError, match=r"answered NOERROR, but reading back, pool.* A has 2 records \(.*planned 3"):
        publish(target, three)


def test_more_records_than_the_server_takes_are_told_with_the_limit(named: Named) -> None:
    many = owned("".join(f"pool 300 A 198.51.100.{number}\n" for number in range(101)))
    target = publisher(named, named.key_file)
    with pytest.raises(PublishError, match=r"max-records-per-type, 100 unless set.*\(SERVFAIL\)$"):
        publish(target, many)
    assert target.read().records == {}


def test_an_alias_at_an_owned_name_is_refused_with_the_remedy(start_named: Callable[..., Named]) -> None:
    text = "$TTL 300\n@ SOA ns1 h ( 1 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\npool CNAME www\nwww A 192.0.2.1\n"
    named = start_named(zone_text=text)
    with pytest.raises(ZoneError, match=r"pool\.example\.org\. is an alias \(CNAME\).*remove the alias, or rename"):
        publisher(named, named.key_file).read()


def test_a_name_below_a_delegation_is_not_taken_for_absent(start_named: Callable[..., Named]) -> None:
    text = "$TTL 300\n@ SOA ns1 h ( 1 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\npool NS ns.example.net.\n"
    named = start_named(zone_text=text)
    with pytest.raises(PublishError, match="no name that the zone delegates"):
        publisher(named, named.key_file).read()


def test_a_server_that_does_not_have_the_zone_is_told(need: Callable[..., None], tmp_path: Path) -> None:
    need("named")
    with Named(tmp_path, "example.net.") as named:
        with pytest.raises(PublishError, match=r"refuses to answer for example\.org\. SOA.*\(REFUSED\)$"):
            publisher(named, named.key_file).read()
        with pytest.raises(
            PublishError, match=r"not authoritative for example\.org\.: give the address .*\(NOTAUTH\)$"
        ):
            update_only(named, named.key_file)


def test_a_name_that_is_no_zone_of_its_own_is_told(need: Callable[..., None], tmp_path: Path) -> None:
    need("named")
    with Named(tmp_path, "org.") as named, pytest.raises(PublishError, match=r"has no zone example\.org\."):
        publisher(named, named.key_file).read()


def test_a_server_that_is_down_is_told_and_nothing_was_sent(named: Named) -> None:
    target = publisher(named, named.key_file)
    named.stop()
    with pytest.raises(
        PublishError, match=r"port \d+ cannot be reached \(Connection refused\), nothing was sent"
    ) as caught:
        target.read()
    assert not isinstance(caught.value, NoReply)
    named.start()
    assert publish(target, owned(FIRST)) == 2026010102


def test_nsd_is_told_apart_as_a_server_that_takes_no_updates(need: Callable[..., None], tmp_path: Path) -> None:
    need("nsd")
    known = write_key(tmp_path / "known.key", KEY_NAME)
    secret = known.read_text().split('"')[3]
    with Nsd(tmp_path / "nsd", "example.org.", key=(KEY_NAME, secret)) as nsd:
        with pytest.raises(
            PublishError, match=r"takes no dynamic updates, as NSD never does: publish to it by zone file"
        ):
            publish(publisher(nsd, known), owned(FIRST))
        unknown = write_key(tmp_path / "unknown.key", "another")
        with pytest.raises(PublishError, match="NSD takes no updates: publish to it by zone file"):
            publisher(nsd, unknown).read()


def test_a_key_that_tsig_keygen_made_is_read(need: Callable[..., None], tmp_path: Path) -> None:
    need("tsig-keygen")
    path = tmp_path / "tsig.key"
    path.touch(mode=0o600)
    path.write_text(run("tsig-keygen", "-a", "hmac-sha384", "made-key"))
    key = load_key(KeyFile(path), {})
    assert (key.name, key.algorithm, len(key.secret)) == (dns.name.from_text("made-key."), "hmac-sha384", 48)


def answering(named: Named, answer_update: Callable[[bytes], Iterable[bytes]]) -> Scripted:
    """Return a server that answers questions as `named` does, and updates by `answer_update`."""

    def answer(wire: bytes) -> Iterable[bytes]:
        if is_update(wire):
            return answer_update(wire)
        return [framed(forward(wire, named.address, named.port))]

    return Scripted(answer)


def updates(server: Scripted) -> int:
    return sum(is_update(wire) for wire in server.requests)


def test_an_update_whose_reply_is_lost_is_published_where_reading_back_shows_it(named: Named) -> None:
    def lose(wire: bytes) -> Iterable[bytes]:
        forward(wire, named.address, named.port)
        return []

    with answering(named, lose) as relay:
        target = publisher(relay, named.key_file)
        assert publish(target, owned(FIRST)) == 2026010102
        assert updates(relay) == 1
    assert publisher(named, named.key_file).read().records == owned(FIRST)


def test_an_update_that_got_lost_is_not_sent_again_and_not_taken_as_published(named: Named) -> None:
    with answering(named, lambda _: []) as relay:
        target = publisher(relay, named.key_file, timeout=0.5)
        sentence = (
            r"the update was sent, .*closed the connection without a whole reply.* A has no records, not the planned"
        )
        with pytest.raises(PublishError, match=sentence):
            publish(target, owned(FIRST))
        assert updates(relay) == 1


def test_an_update_is_unknown_where_the_server_goes_away_with_it(named: Named) -> None:
    def vanish(_: bytes) -> Iterable[bytes]:
        named.stop()
        return []

    with answering(named, vanish) as relay:
        target = publisher(relay, named.key_file, timeout=0.5)
        with pytest.raises(PublishError, match=r"the update was sent, .*but it cannot be read back: name server"):
            publish(target, owned(FIRST))


def test_an_unsigned_noerror_is_never_a_success(named: Named) -> None:
    def unsigned(wire: bytes) -> Iterable[bytes]:
        reply = dns.message.make_response(dns.message.from_wire(wire, keyring=False))
        reply.tsig = None
        return [framed(reply.to_wire())]

    with answering(named, unsigned) as relay:
        target = publisher(relay, named.key_file)
        with pytest.raises(PublishError, match="did not sign its reply, so that NOERROR proves nothing"):
            publish(target, owned(FIRST))


def test_a_reply_that_was_altered_on_the_way_does_not_count(named: Named) -> None:
    def alter(wire: bytes) -> Iterable[bytes]:
        reply = bytearray(forward(wire, named.address, named.port))
        reply[3] ^= 0x10
        return [framed(bytes(reply))]

    with Scripted(alter) as relay, pytest.raises(PublishError, match="does not confirm"):
        publisher(relay, named.key_file).read()


def test_a_reply_to_another_question_does_not_count(named: Named) -> None:
    def other(wire: bytes) -> Iterable[bytes]:
        request = dns.message.from_wire(wire, keyring={key.name: key})
        reply = dns.message.make_response(request)
        reply.question = []
        return [framed(reply.to_wire())]

    key = load_key(KeyFile(named.key_file), {}).to_dnspython()
    with Scripted(other) as relay, pytest.raises(PublishError, match="answered something else than it was asked"):
        publisher(relay, named.key_file).read()


@pytest.mark.parametrize("pieces", [[b"\x00"], [b"\x00\x20"], [b"\x00\x20half"], []])
def test_a_reply_that_ends_too_early_is_no_reply(named: Named, pieces: list[bytes]) -> None:
    with Scripted(lambda _: pieces) as relay, pytest.raises(NoReply, match="without a whole reply"):
        publisher(relay, named.key_file).read()


def test_what_is_no_dns_message_is_told(named: Named) -> None:
    with (
        Scripted(lambda _: [framed(b"SSH-2.0-OpenSSH")]) as relay,
        pytest.raises(PublishError, match="is the port right"),
    ):
        publisher(relay, named.key_file).read()


def test_a_reply_that_drips_is_given_up_at_the_deadline(named: Named) -> None:
    def drip(wire: bytes) -> Iterator[bytes]:
        yield b"\xff\xff"
        for _ in wire[:100]:
            time.sleep(0.05)
            yield b"\x00"

    with Scripted(drip) as relay, pytest.raises(NoReply, match=r"no whole reply within 0\.3 s"):
        publisher(relay, named.key_file, timeout=0.3).read()


def test_a_reply_with_another_id_does_not_count(named: Named) -> None:
    def other_id(wire: bytes) -> Iterable[bytes]:
        reply = bytearray(forward(wire, named.address, named.port))
        reply[1] ^= 1
        return [framed(bytes(reply))]

    with Scripted(other_id) as relay, pytest.raises(PublishError, match=r"answered something else|does not confirm"):
        publisher(relay, named.key_file).read()


def test_a_reply_that_was_cut_short_does_not_count(named: Named) -> None:
    def cut(wire: bytes) -> Iterable[bytes]:
        request = dns.message.from_wire(wire, keyring={key.name: key})
        reply = dns.message.make_response(request)
        reply.flags |= dns.flags.TC | dns.flags.AA
        return [framed(reply.to_wire())]

    key = load_key(KeyFile(named.key_file), {}).to_dnspython()
    with Scripted(cut) as relay, pytest.raises(PublishError, match=r"cut its reply short \(TC\)"):
        publisher(relay, named.key_file).read()


@pytest.mark.parametrize(("serial", "following"), [(2**31 - 1, 2**31), (2**31, 2**31 + 1), (2**32 - 1, 1)])
def test_serials_go_on_over_half_and_end_of_their_circle(
    start_named: Callable[..., Named], serial: int, following: int
) -> None:
    text = f"$TTL 300\n@ SOA ns1 h ( {serial} 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\n"
    named = start_named(zone_text=text)
    assert publish(publisher(named, named.key_file), owned(FIRST)) == following


def test_a_zone_that_did_not_load_is_told(start_named: Callable[..., Named]) -> None:
    named = start_named(zone_text="$TTL 300\n@ SOA ns1 h ( 1 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\n")
    named.stop()
    for journal in named.folder.glob("*.jnl"):
        journal.unlink()
    named.zone_file.write_text("@ SOA broken\n")
    named.start(dns.rcode.SERVFAIL)
    with pytest.raises(PublishError, match=r"cannot answer for example\.org\. SOA: .*failed to load.*\(SERVFAIL\)$"):
        publisher(named, named.key_file).read()


def test_an_alias_that_comes_between_reading_and_writing_is_not_taken_for_the_pool(named: Named) -> None:
    cname = (POOL, dns.rdatatype.CNAME)
    target = publisher(named, named.key_file)
    planned = plan(target.read(), owned(FIRST))
    alias = zone("pool 60 CNAME www\n")[cname]
    publish(publisher(named, named.key_file, keys=frozenset({cname})), {cname: alias})
    with pytest.raises(ZoneError, match=r"pool\.example\.org\. is an alias \(CNAME\)"):
        target.publish(planned)


def test_what_is_read_is_signed_with_its_own_key(named: Named) -> None:
    keys = [load_key(KeyFile(path), {}).to_dnspython() for path in (named.key_file, named.other_key_file)]
    signed = set()

    def look(wire: bytes) -> Iterable[bytes]:
        message = dns.message.from_wire(wire, keyring={key.name: key for key in keys})
        signed.add((is_update(wire), str(message.keyname)))
        return [framed(forward(wire, named.address, named.port))]

    with Scripted(look) as relay:
        target = publisher(relay, named.key_file, read_key=KeyFile(named.other_key_file))
        assert publish(target, owned(FIRST)) == 2026010102
    assert signed == {(False, "other-key."), (True, "poolmgr-key.")}


def test_any_change_of_the_zone_stops_an_update_that_is_bound_to_its_soa(named: Named) -> None:
    free, bound = (publisher(named, named.key_file, soa_prerequisite=value) for value in (False, True))
    www = (dns.name.from_text("www.example.org."), dns.rdatatype.A)
    other = publisher(named, named.key_file, keys=frozenset({www}))
    first = [plan(target.read(), owned(FIRST)) for target in (free, bound)]
    publish(other, {www: zone("www 60 A 192.0.2.80\n")[www]})
    with pytest.raises(Conflict, match=r"SOA serial of example\.org\. at .* was 2026010101 and is 2026010102.*again"):
        bound.publish(first[1])
    assert bound.read().records == {}
    assert free.publish(first[0]).serial == 2026010103
    assert publish(bound, owned(SECOND)) == 2026010104


def test_a_change_between_the_last_look_at_the_soa_and_the_update_stops_it_too(named: Named) -> None:
    www = (dns.name.from_text("www.example.org."), dns.rdatatype.A)
    other = publisher(named, named.key_file, keys=frozenset({www}))

    def race(wire: bytes) -> Iterable[bytes]:
        publish(other, {www: zone("www 60 A 192.0.2.80\n")[www]})
        return [framed(forward(wire, named.address, named.port))]

    with answering(named, race) as relay, pytest.raises(Conflict, match=r"plan again \(NXRRSET\)"):
        publish(publisher(relay, named.key_file, soa_prerequisite=True), owned(FIRST))
    assert publisher(named, named.key_file).read().records == {}


POOLS = tuple(dns.name.from_text(f"p{number}.example.org.") for number in range(3))
MANY = frozenset((pool, dns.rdatatype.A) for pool in POOLS)


def many_pools(of: int = 1500) -> Records:
    """Return three pools of as many addresses, two of which fit one message."""
    text = "".join(f"p{pool} 300 A 10.{pool}.{at // 250}.{at % 250}\n" for pool in range(3) for at in range(of))
    return {key: rrset for key, rrset in zone(text).items() if key in MANY}


@pytest.fixture
def roomy(start_named: Callable[..., Named]) -> Named:
    return start_named(zone_options=f"max-records-per-type 0; update-policy {{ grant {KEY_NAME} zonesub ANY; }};")


def test_what_is_larger_than_a_message_goes_in_several_with_whole_pools(roomy: Named) -> None:
    sent: list[frozenset[str]] = []

    def look(wire: bytes) -> Iterable[bytes]:
        key = load_key(KeyFile(roomy.key_file), {}).to_dnspython()
        message = dns.message.from_wire(wire, keyring={key.name: key})
        sent.append(frozenset(str(rrset.name) for rrset in message.sections[2]))
        assert len(wire) <= 65535
        return [framed(forward(wire, roomy.address, roomy.port))]

    with answering(roomy, look) as relay:
        target = publisher(relay, roomy.key_file, keys=MANY, pools=POOLS, soa_prerequisite=True)
        receipt = target.publish(plan(target.read(), many_pools()))
    assert sent == [{"p0.example.org.", "p1.example.org."}, {"p2.example.org."}]
    assert (receipt.serial, target.label in receipt.sentence) == (2026010103, True)
    assert receipt.sentence.endswith("after 2 messages with whole pools each, since one may have 65535 octets")
    assert publisher(roomy, roomy.key_file, keys=MANY).read().records == many_pools()


def test_a_second_message_follows_only_when_the_first_is_seen_though_its_reply_got_lost(roomy: Named) -> None:
    def lose(wire: bytes) -> Iterable[bytes]:
        forward(wire, roomy.address, roomy.port)
        return []

    with answering(roomy, lose) as relay:
        target = publisher(relay, roomy.key_file, keys=MANY, pools=POOLS)
        assert publish(target, many_pools()) == 2026010103
        assert updates(relay) == 2


def test_a_second_message_that_fails_is_told_with_what_was_applied(roomy: Named) -> None:
    def once(wire: bytes) -> Iterable[bytes]:
        if updates(relay) == 1:
            return [framed(forward(wire, roomy.address, roomy.port))]
        return []

    with answering(roomy, once) as relay:
        target = publisher(relay, roomy.key_file, timeout=1, keys=MANY, pools=POOLS)
        with pytest.raises(PublishError, match=r"^1 of 2 messages were applied, then: the update was sent, "):
            publish(target, many_pools())
        assert updates(relay) == 2
    left = {key for key in MANY if key not in publisher(roomy, roomy.key_file, keys=MANY).read().records}
    assert left == {(POOLS[2], dns.rdatatype.A)}


MARKED = OWNED | {marker_key(POOL)}


def marked(owner: str, text: str) -> Records:
    return {**owned(text), **marker_records([POOL], owner)}


def test_of_two_who_race_to_mark_a_pool_one_wins(named: Named) -> None:
    us, them = (publisher(named, named.key_file, keys=MARKED, marker=owner) for owner in ("us", "them"))
    plans = plan(us.read(), marked("us", FIRST)), plan(them.read(), marked("them", SECOND))
    them.publish(plans[1])
    with pytest.raises(Conflict):
        us.publish(plans[0])
    with pytest.raises(ZoneError, match="owner=them"):
        check_markers(us.read().records, [POOL], "us")
    assert us.read().records == marked("them", SECOND)


def test_a_pool_whose_marker_went_away_is_not_changed(named: Named) -> None:
    us = publisher(named, named.key_file, keys=MARKED, marker="us")
    publish(us, marked("us", FIRST))
    planned = plan(us.read(), marked("us", SECOND))
    publish(publisher(named, named.key_file, keys=frozenset({marker_key(POOL)})), {})
    with pytest.raises(Conflict, match="NXRRSET"):
        us.publish(planned)
    assert us.read().records == owned(FIRST)


def test_the_labels_that_srv_records_lead_to_are_read_with_them_and_looked_at_when_they_go(named: Named) -> None:
    keys = frozenset({(dns.name.from_text("_hkp._tcp", POOL), dns.rdatatype.SRV)})
    label = "c0000201.hosts.pool"
    both = f"_hkp._tcp.pool 300 SRV 0 32 11371 {label}\n{label} 300 A 192.0.2.1\n"
    desired = {key: rrset for key, rrset in zone(both).items() if key[0] != ORIGIN and key[0].is_subdomain(POOL)}
    target = publisher(named, named.key_file, keys=keys)
    publish(target, desired)
    assert target.read().records == desired

    def put_back(wire: bytes) -> Iterable[bytes]:
        reply = forward(wire, named.address, named.port)
        of_label = frozenset(key for key in desired if key not in keys)
        publish(publisher(named, named.key_file, keys=of_label), {key: desired[key] for key in of_label})
        return [framed(reply)]

    with answering(named, put_back) as relay:
        late = publisher(relay, named.key_file, keys=keys, timeout=0.5)
        with pytest.raises(PublishError, match=rf"{label}.* A has 1 records .*, not the planned no records"):
            publish(late, {})

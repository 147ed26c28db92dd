from __future__ import annotations

import dns.message
import dns.name
import dns.rrset
import dns.tsig
import dns.update
import pytest
from dns.rcode import Rcode

from poolmgr.publish.refusal import refusal, unsigned_refusal

KEY = dns.tsig.Key("poolmgr-key.", bytes(32))
SERVER_TIME = 1_800_003_600


def update() -> dns.update.UpdateMessage:
    message = dns.update.UpdateMessage("example.org.")
    message.delete("pool.example.org.", "A")
    message.add("pool.example.org.", 300, "A", "192.0.2.1")
    message.use_tsig(KEY)
    return message


def question() -> dns.message.Message:
    message = dns.message.make_query("pool.example.org.", "A")
    message.use_tsig(KEY)
    return message


def reply(
    request: dns.message.Message, rcode: Rcode, tsig_error: int | None = None, other: bytes = b""
) -> dns.message.Message:
    answer = dns.message.make_response(request)
    answer.set_rcode(rcode)
    answer.tsig = None
    if tsig_error is not None:
        answer.use_tsig(KEY, tsig_error=tsig_error, other_data=other)
    return answer


@pytest.mark.parametrize(
    ("rcode", "words"),
    [
        (Rcode.NOTIMP, "NSD never does: publish to it by zone file"),
        (
            Rcode.REFUSED,
            "frozen (rndc thaw, knotc zone-thaw), static or a secondary there, or its update-policy does not let the",
        ),
        (Rcode.NOTAUTH, "not authoritative for example.org.: give the address of the zone's primary"),
        (Rcode.NOTZONE, "outside example.org."),
        (Rcode.SERVFAIL, "max-records-per-type, 100"),
        (Rcode.YXRRSET, "plan again"),
        (Rcode.NXRRSET, "plan again"),
        (Rcode.YXDOMAIN, "plan again"),
        (Rcode.NXDOMAIN, "plan again"),
        (Rcode.FORMERR, "its log may say why"),
    ],
)
def test_each_rcode_of_an_update_is_explained_with_its_remedy(rcode: Rcode, words: str) -> None:
    sentence = refusal(update(), reply(update(), rcode))
    assert sentence is not None
    assert words in sentence
    assert sentence.endswith(f"({rcode.name})")


def test_a_refused_update_names_each_rrset_once() -> None:
    sentence = refusal(update(), reply(update(), Rcode.REFUSED))
    assert sentence is not None
    assert "write pool.example.org. A (REFUSED)" in sentence


@pytest.mark.parametrize("rcode", [Rcode.REFUSED, Rcode.NOTAUTH, Rcode.SERVFAIL])
def test_a_refused_question_is_explained_as_one(rcode: Rcode) -> None:
    sentence = refusal(question(), reply(question(), rcode))
    assert sentence is not None
    assert "answer for pool.example.org. A" in sentence or "authoritative for pool.example.org. A" in sentence
    assert "update" not in sentence


def test_noerror_is_good_and_so_is_nxdomain_to_a_question() -> None:
    assert refusal(update(), reply(update(), Rcode.NOERROR)) is None
    assert refusal(question(), reply(question(), Rcode.NOERROR)) is None
    assert refusal(question(), reply(question(), Rcode.NXDOMAIN)) is None


@pytest.mark.parametrize(
    ("tsig_error", "words"),
    [
        (Rcode.BADKEY, "knows no TSIG key poolmgr-key. with hmac-sha256"),
        (Rcode.BADSIG, "another secret for the TSIG key poolmgr-key."),
        (22, "(BADTRUNC)"),
        (0, "does not confirm"),
    ],
)
def test_each_tsig_error_is_explained(tsig_error: int, words: str) -> None:
    assert words in unsigned_refusal(update(), reply(update(), Rcode.NOTAUTH, tsig_error))


def test_a_clock_that_is_off_is_explained_with_both_times_and_the_difference() -> None:
    request = update()
    assert request.tsig is not None
    signed = request.tsig[0].replace(time_signed=1_800_000_000)
    request.tsig = dns.rrset.from_rdata(KEY.name, 0, signed)
    sentence = unsigned_refusal(request, reply(request, Rcode.NOTAUTH, Rcode.BADTIME, SERVER_TIME.to_bytes(6)))
    assert "2027-01-15 09:00:00 UTC while it is 2027-01-15 08:00:00 UTC here: 3600 s apart, 300 s" in sentence


def test_a_server_time_beyond_all_calendars_is_shown_as_a_number() -> None:
    answer = reply(update(), Rcode.NOTAUTH, Rcode.BADTIME, b"\xff" * 6)
    assert f"{2**48 - 1} s after 1970" in unsigned_refusal(update(), answer)


def test_an_unsigned_noerror_is_never_a_success() -> None:
    sentence = unsigned_refusal(update(), reply(update(), Rcode.NOERROR))
    assert "did not sign its reply, so that NOERROR proves nothing" in sentence


def test_an_unsigned_refused_points_at_the_key_and_another_rcode_at_its_own_cause() -> None:
    assert "does not accept the key poolmgr-key." in unsigned_refusal(update(), reply(update(), Rcode.REFUSED))
    assert "publish to it by zone file" in unsigned_refusal(update(), reply(update(), Rcode.NOTIMP))

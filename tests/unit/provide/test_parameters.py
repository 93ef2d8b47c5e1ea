from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.provide.parameters import check_known, decimal, instant_us, parameters
from bal.times import rfc3339

plain = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn"]), min_size=1, max_size=20
)


@given(st.dictionaries(plain, plain, max_size=8))
def test_what_a_browser_writes_is_read_back(given: dict[str, str]) -> None:
    """WHATWG URL §5.1: application/x-www-form-urlencoded."""
    assert parameters(urlencode(given).encode("ascii")) == given


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        found = parameters(raw)
    except Rejected:
        return
    for name, value in found.items():
        (name + value).encode("utf-8")
        assert "\0" not in name + value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"a=1&a=2", "parameter-repeated"),
        (b"a=1&%61=2", "parameter-repeated"),
        (b"a=%00", "control-character"),
        (b"a%00=1", "control-character"),
        (b"a=%E2%80%AE", "control-character"),  # right-to-left override
        # RFC 3629 §3: neither surrogates nor the octets of longer forms
        (b"a=%ED%A0%80", "not-utf8"),  # a lone surrogate
        (b"a=%FF", "not-utf8"),
        (b"a=%C0%80", "not-utf8"),  # an overlong NUL
        (b"a=%", "query-malformed"),  # RFC 3986 §2.1: % and two hex digits
        (b"a=%G0", "query-malformed"),
        (b"a=\xc3\xa4", "query-malformed"),  # RFC 3986 §2: ASCII alone
        (b"&".join(b"a%d=" % i for i in range(33)), "query-malformed"),
    ],
)
def test_what_is_odd_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        parameters(raw)
    assert caught.value.code == code


def test_an_unknown_name_is_named_and_cut_short() -> None:
    with pytest.raises(Rejected) as caught:
        check_known(["x" * 500], ("a", "b"))
    assert caught.value.code == "parameter-unknown"
    assert caught.value.field == "x" * 64
    assert "a, b" in caught.value.text


@pytest.mark.parametrize("text", ["+7", "007", "7_0", " 7", "7.0", "", "٧", "-1", "1e2", "9" * 19])
def test_a_number_is_taken_only_as_we_would_print_it(text: str) -> None:
    with pytest.raises(Rejected):
        decimal("limit", text, 0, 10**18)


def test_a_number_within_its_bounds() -> None:
    assert decimal("limit", "10000", 1, 10_000) == 10_000
    for text in ("0", "10001"):
        with pytest.raises(Rejected, match="1 to 10000"):
            decimal("limit", text, 1, 10_000)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_an_instant_is_the_same_in_every_offset(naive: datetime, minutes: int) -> None:
    instant = naive.replace(tzinfo=UTC)
    us = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert instant_us("from", rfc3339(us)) == us
    sign, off = ("-" if minutes < 0 else "+"), abs(minutes)
    local = (naive + timedelta(minutes=minutes)).isoformat()
    assert instant_us("from", f"{local}{sign}{off // 60:02}:{off % 60:02}") == us


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-15T10:00:00",  # no offset
        "2026-01-15 10:00:00Z",  # RFC 3339 §5.6 lets others write a space, t and z
        "2026-01-15t10:00:00Z",
        "2026-01-15T10:00:00z",
        "2026-01-15T10:00Z",
        "2026-01-15",
        "2026-02-30T10:00:00Z",  # RFC 3339 §5.7: the days of a month, 23:59
        "2026-01-15T24:00:00Z",
        "2026-01-15T23:59:60Z",
        "2026-01-15T10:00:00.1234567Z",
        "2026-01-15T10:00:00+24:00",
        "2026-01-15T10:00:00+01:60",
        "2026-01-15T10:00:00+0100",
        "2026-01-15T10:00:00 01:00",  # a + that was not escaped
        "２026-01-15T10:00:00Z",
        "0000-01-15T10:00:00Z",
        "size:1",
        "now",
        "",
    ],
)
def test_a_time_that_is_not_rfc3339_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        instant_us("from", text)
    assert caught.value.code == "time-malformed"
    assert caught.value.field == "from"


def test_a_plus_that_became_a_space_gets_a_hint() -> None:
    with pytest.raises(Rejected, match="%2B"):
        instant_us("from", "2026-01-15T10:00:00 01:00")

"""The guard: what is refused before the bus, by code, line and clause; nothing else is raised."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bal.c37118.data import Layout
from bal.c37118.writer import config_frames
from bal.collect.guard import Limits, guard
from bal.errors import Rejected
from tests.c37118_streams import config, frame

BILLION_LAUGHS = (
    b'<?xml version="1.0"?>\n<!DOCTYPE a [\n<!ENTITY b "ha">\n'
    + b"".join(b'<!ENTITY b%d "&b;&b;&b;&b;&b;&b;&b;&b;">\n' % n for n in range(9))
    + b"]>\n<a>&b8;</a>"
)


def refusal(raw: bytes, form: str = "cim", limits: Limits | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        guard(raw, form, limits or Limits())
    assert "\n" not in caught.value.text
    return caught.value


# --- XML ---


@pytest.mark.parametrize(
    "raw",
    [
        b"<a/>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n<a/>',
        b"<?xml version='1.0' encoding = 'us-ascii' standalone='yes'?><a/>",
        b"\xef\xbb\xbf<a/>",  # XML 1.0 §4.3.3 allows a byte order mark
        "<Zähler>à 1 €</Zähler>".encode(),
        b"<a><!-- not a <!DOCTYPE a> --></a>",
        b"<a><![CDATA[<!DOCTYPE a [<!ENTITY b 'c'>]>]]></a>",
        b"<a><?note <!ENTITY ?></a>",
        b"<a>&lt;&amp;&#233;&#x1F600;</a>",
        b"<a>" * 64 + b"</a>" * 64,
    ],
)
def test_xml_that_is_taken(raw):
    guard(raw, "cim")


@pytest.mark.parametrize(
    ("raw", "code", "line"),
    [
        (b"", "message-empty", None),
        (b" \r\n\t", "message-empty", None),
        (b"not XML", "xml-malformed", 1),
        (b"<a>\n<b>\n</a>", "xml-malformed", 3),
        (b"<a>\n<b>", "xml-malformed", 2),
        (b"<a/>\n<b/>", "xml-malformed", 2),
        (b"<a b='1'\n b='2'/>", "xml-malformed", 2),
        (b"<x:a/>", "xml-malformed", 1),
        (b"<a>&unknown;</a>", "xml-malformed", 1),
        (b'<?xml version="1.0" encoding="utf-8"', "xml-malformed", 1),
        (b"<!doctype a><a/>", "xml-malformed", 1),
        (b"<a><!ENTITY b 'c'></a>", "xml-malformed", 1),
        (b"<!DOCTYPE a><a/>", "dtd-forbidden", 1),
        (b"\n<!-- x -->\n<!DOCTYPE a SYSTEM 'file:///etc/hostname'><a/>", "dtd-forbidden", 3),
        (b'\n<!DOCTYPE a [<!ENTITY b SYSTEM "http://a.invalid/">]><a>&b;</a>', "dtd-forbidden", 2),
        (b'<!DOCTYPE a [<!ENTITY % b "c"> %b;]><a/>', "dtd-forbidden", 1),
        (b"<!DOCTYPE a [", "dtd-forbidden", 1),
        (BILLION_LAUGHS, "dtd-forbidden", 2),
        (b"<a>\n<b>\xe9</b></a>", "not-utf8", 2),
        (b"<a>\xed\xa0\x80</a>", "not-utf8", 1),  # a surrogate in UTF-8's clothes
        ("<a/>".encode("utf-16"), "not-utf8", 1),
        ("<a/>".encode("utf-16-le"), "not-utf8", 1),
        ("<a/>".encode("utf-16-be"), "not-utf8", 1),
        ("<a/>".encode("utf-32-be"), "not-utf8", 1),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE', "not-utf8", 1),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "not-utf8", 1),
        (b"<a>\n\0</a>", "control-character", 2),
        (b"<a>\n\n\x01</a>", "control-character", 3),
        (b"<a>&#0;</a>", "control-character", 1),
        (b"<a b='&#x1f;'/>", "control-character", 1),
        ("<a>\ufffe</a>".encode(), "control-character", 1),
        (b"<a>\n" * 65 + b"</a>" * 65, "depth-exceeded", 65),
        (b"<a>" * 300 + b"</a>" * 300, "depth-exceeded", 1),
        (b"<a>" * 100_000, "depth-exceeded", 1),
        (b"<a>" + b"<b/>" * 600_000 + b"</a>", "too-many-items", None),
    ],
)
def test_xml_that_is_refused(raw, code, line):
    refused = refusal(raw)
    assert (refused.code, refused.line) == (code, line)


def test_a_refusal_names_the_clause():
    assert refusal(b"<!DOCTYPE a><a/>").clause == "XML 1.0 §2.8"
    assert refusal(b"<a>").clause == "XML 1.0 §2.1"
    assert refusal(b"\xff").clause == "XML 1.0 §4.3.3"
    assert refusal(b"[NaN]", "der").clause == "RFC 8259 §2"
    assert refusal(b'{"a":1,"a":1}', "der").clause == "RFC 8259 §4; RFC 7493 §2.3"
    assert refusal(b'["\x01"]', "der").clause == "RFC 8259 §7"
    assert refusal(b'["\\ud800"]', "der").clause == "RFC 8259 §8.2; RFC 7493 §2.1"


@pytest.mark.parametrize("secret", ["DE0099887766", "Anna", "meter-12345678"])
@pytest.mark.parametrize(
    "template", ["<{0}>", "<a><{0}></a>", "<a {0}='1' {0}='2'/>", "<a>&{0};</a>", "<{0}:a/>"]
)
def test_no_refusal_quotes_the_message(secret, template):
    refused = refusal(template.format(secret).encode())
    assert secret not in str(refused) + refused.field + refused.clause


def test_external_entities_are_not_read(tmp_path):
    bait = tmp_path / "bait"
    bait.write_text("secret")
    raw = f'<!DOCTYPE a [<!ENTITY b SYSTEM "{bait.as_uri()}">]><a>&b;</a>'.encode()
    assert refusal(raw).code == "dtd-forbidden"


def test_published_messages_pass(shared_data):
    for name in ("d29_figure_1.xml", "d29_figure_1_as_printed.xml"):
        guard((shared_data / name).read_bytes(), "cim")
    for path in (shared_data / "ieee2030_5").iterdir():
        guard(path.read_bytes(), "sep2")


def test_ieee_2030_5_is_xml_like_cim():
    guard(b"<a/>", "sep2")  # what it says is the business of harmonise
    assert refusal(b"<!DOCTYPE a><a/>", "sep2").code == "dtd-forbidden"
    assert refusal(b"{}", "sep2").code == "xml-malformed"


def test_sunspec_is_json_in_which_a_value_may_be_nan():
    guard(b'{"models":[{"ID":113,"W":NaN}]}', "sunspec")  # a point that the device has not got
    assert refusal(b'{"models":[],"models":[]}', "sunspec").code == "json-duplicate-key"
    assert refusal(b"[" * 80, "sunspec").code == "depth-exceeded"
    assert refusal(b"<a/>", "sunspec").code == "json-malformed"


# --- JSON ---


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"a":[1,2.5,-3e2,true,null],"b":{"a":"\\n"}}',
        b'{"a":{"b":1},"c":{"b":2}}',
        b'["\\ud83d\\ude00", "\\\\ud800", "\\\\u0000"]',
        b'{"v":1e400,"n":' + b"9" * 5000 + b"}",  # harmonise judges numbers
        b"[" * 64 + b"]" * 64,
        b'["[[[[", "}"]',
        b'["NaN"]',
    ],
)
def test_json_that_is_taken(raw):
    guard(raw, "der")


@pytest.mark.parametrize(
    ("raw", "code", "line"),
    [
        (b"\n", "message-empty", None),
        (b"{", "json-malformed", 1),
        (b'{"a":1,\n}', "json-malformed", 2),
        (b'"', "json-malformed", 1),
        (b"{} {}", "json-malformed", 1),
        (b"<a/>", "json-malformed", 1),
        (b"\xef\xbb\xbf{}", "json-malformed", 1),  # RFC 8259 §8.1 forbids it
        (b'{"a":\nNaN}', "json-malformed", 2),
        (b'["NaN",\n\n-Infinity]', "json-malformed", 3),
        # RFC 8259 §4 wants the names in an object unique, RFC 7493 §2.3 demands it
        (b'{"a":1,\n"a":2}', "json-duplicate-key", 2),
        (b'{"a":1,\n\n"\\u0061":1}', "json-duplicate-key", 3),
        (b'[{"b":{"a":1,"a":\n1}}]', "json-duplicate-key", 1),
        (b'{"x":[{"a":1},{"a":2}],"a":0,\n"x":0}', "json-duplicate-key", 2),
        # RFC 8259 §8.2, RFC 7493 §2.1: a surrogate alone is no character
        (b'["\\ud800"]', "not-unicode", 1),
        (b'["\\ude00\\ud83d"]', "not-unicode", 1),
        (b'{\n"\\uDBFF":1}', "not-unicode", 2),
        (b'["\\u0000"]', "control-character", 1),
        (b'["\\u001F"]', "control-character", 1),
        (b'["\\b"]', "control-character", 1),
        (b'["\\uffff"]', "control-character", 1),
        (b'[\n"\x00"]', "control-character", 2),  # RFC 8259 §7: escaped, or not at all
        (b'[\n"\x1f"]', "control-character", 2),
        ("[\n'\ufffe']".replace("'", '"').encode(), "control-character", 2),
        (b'["\xff"]', "not-utf8", 1),
        ("[]".encode("utf-16"), "not-utf8", 1),
        (b"[\n" * 65 + b"]" * 65, "depth-exceeded", 65),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "depth-exceeded", 1),
        (b"[" * 100_000, "depth-exceeded", 1),
        (b"[" + b"0," * 600_000 + b"0]", "too-many-items", None),
    ],
)
def test_json_that_is_refused(raw, code, line):
    refused = refusal(raw, "der")
    assert (refused.code, refused.line) == (code, line)


# --- both ---


def test_size_comes_first():
    limits = Limits(message_bytes_max=10)
    guard(b"<a>1234</a>"[:4] + b"</a>", "cim", limits)
    assert refusal(b"\xff" * 11, "cim", limits).code == "message-too-large"
    assert refusal(b"x" * (4 * 1024 * 1024 + 1), "nonsense").code == "message-too-large"


@pytest.mark.parametrize("form", ["", "CIM", "json", "cim/x", "command", "\0"])
def test_unknown_formats(form):
    refused = refusal(b"{}", form)
    assert (refused.code, refused.field) == ("format-unknown", "format")


def test_depth_is_a_limit_that_can_be_set():
    guard(b"<a><b/></a>", "cim", Limits(depth_max=2))
    assert refusal(b"<a><b><c/></b></a>", "cim", Limits(depth_max=2)).code == "depth-exceeded"
    assert refusal(b"[[[]]]", "der", Limits(depth_max=2)).code == "depth-exceeded"


PIECES = b"""<a> </a> <a/> <!DOCTYPE\ta <!ENTITY [ ] { } " : , \\ u d800 0000 1 NaN <?xml ?> & ;
    &#0; encoding='x' <![CDATA[ ]]> <!-- --> xmlns""".split(b" ")
FRAGMENTS = st.lists(st.sampled_from([*PIECES, b" ", b"\n", b"\0", b"\xff"]), max_size=40).map(
    b"".join
)


@given(st.one_of(st.binary(max_size=200), FRAGMENTS), st.sampled_from(["cim", "der", "sep2", "x"]))
@example(b'{"a":1}]{"a":1,"a":2}', "der")
@example(b'{"\\', "der")
def test_arbitrary_bytes_raise_nothing_but_rejected(raw, form):
    refused = None
    try:
        guard(raw, form)
    except Rejected as error:
        refused = error
    if refused:
        assert refused.code
        assert refused.text
        assert refused.line is None or 1 <= refused.line <= raw.count(b"\n") + 1


JSON_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).filter(
    lambda text: "\ufffe" not in text and "\uffff" not in text
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | JSON_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_TEXT, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON_VALUES, st.booleans())
def test_whatever_json_writes_is_taken(value, ascii_only):
    guard(json.dumps(value, ensure_ascii=ascii_only).encode(), "der")


@given(JSON_VALUES, JSON_TEXT, JSON_VALUES)
def test_a_doubled_member_is_always_found(first, name, second):
    member = json.dumps(name)
    raw = f"[{json.dumps(first)},{{{member}:0,\n{member}:{json.dumps(second)}}}]".encode()
    refused = refusal(raw, "der")
    assert (refused.code, refused.line) == ("json-duplicate-key", 2)


def test_a_frame_size_past_whole_frames_is_wrong_not_incomplete() -> None:
    """As behind the first frame (bal/c37118/splitter.py)."""
    of = config()
    first, behind = b"".join(config_frames(of)), frame(Layout(of), 0)
    wrong = first[:2] + b"\xff\xff" + first[4:]
    for raw, code in ((wrong + behind, "frame-size-wrong"), (wrong, "frame-incomplete")):
        with pytest.raises(Rejected) as raised:
            guard(raw, "c37118")
        assert raised.value.code == code

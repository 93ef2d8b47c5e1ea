"""The fast way reads what the exact way reads; and the exact way what another parser reads."""

import re
from xml.parsers import expat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.errors import Rejected
from bal.harmonise import cim_odd, cim_scan, cim_tree, cim_xml

KWH = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"


def element(n: int, value: str = "1.5", name: str = "", shape: str = "plain") -> str:
    quality = '<ReadingQualities><ReadingQualityType ref="3.8.0"/></ReadingQualities>'
    body = {
        "plain": f'<value>{value}</value><ReadingType ref="{KWH}"/>',
        "quality": f'<value>{value}</value><ReadingType ref="{KWH}"/>{quality}',
        "period": f"<value>{value}</value><timePeriod><start>a</start><end>b</end></timePeriod>",
        "no value": f'<ReadingType ref="{KWH}"/>',
        "empty value": f'<value/><ReadingType ref="{KWH}"/>',
        "in place": f"<ReadingType><mRID>{KWH}</mRID></ReadingType><value>{value}</value>",
        "doubled": "<value>1</value><value>2</value>",
        "mixed": f"<value>1<x/></value><ReadingType ref='{KWH}'/>",
        "two": f"<value>{value}</value></Readings><Readings><value>{value}</value>",
    }[shape]
    return (
        f"<MeterReading><Meter><Names><name>{name or f'M{n}'}</name><NameType><name>T</name>"
        f"</NameType></Names></Meter><Readings><timeStamp>2026-01-15T10:{n % 60:02d}:00Z"
        f"</timeStamp>{body}</Readings></MeterReading>"
    )


def document(elements: list[str], gap: str = "", head: str = "", tail: str = "") -> bytes:
    inside = gap.join(elements)
    return (
        f'<?xml version="1.0"?><m><MeterReadings a="1">{head}{inside}{gap}</MeterReadings>'
        f"{tail}</m>" + " " * cim_scan.MESSAGE_MIN
    ).encode()


def exact(raw: bytes) -> list[cim_xml.MeterReading] | str:
    try:
        return cim_xml.read(raw)
    except Rejected as error:
        return error.code


@pytest.mark.parametrize("shape", ["plain", "quality", "period", "no value", "in place", "two"])
@pytest.mark.parametrize("gap", ["", "\n", "\r\n  "])
def test_regular_messages_take_the_fast_way(shape: str, gap: str) -> None:
    raw = document([element(n, f"{n}.25", shape=shape) for n in range(50)], gap)
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)
    assert [raw[one.start : one.end].startswith(b"<MeterReading>") for one in found] == [True] * 50


def test_several_shapes_take_the_fast_way_too() -> None:
    shapes = ["plain", "quality", "period", "two"]
    raw = document([element(n, shape=shapes[n % 4]) for n in range(40)], "\n")
    assert cim_scan.read(raw) == cim_xml.read(raw)


def test_a_prefix_is_learnt_with_the_shape() -> None:
    raw = re.sub(rb"<(/?)([A-Z])", rb"<\1mr:\2", document([element(n) for n in range(9)]))
    raw = raw.replace(b'a="1"', b'xmlns:mr="urn:x"')
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)


def test_of_two_texts_of_a_type_the_code_counts_whichever_way_it_is_read() -> None:
    kind = f'<ReadingType ref="{KWH}"/>'
    both = [f"<mRID>{one}</mRID><Names><name>{two}</name></Names>"
            for one, two in ((KWH, "id"), ("id", KWH), ("id", "no code"))]  # fmt: skip
    elements = [
        element(n).replace(kind, f"<ReadingType>{both[n % 3]}</ReadingType>") for n in range(30)
    ]
    for n in (30, 1, 2, 3):
        raw = document(elements[:n] * (30 // n), "\n")
        read = cim_xml.read(raw)
        assert (cim_scan.read(raw) or read) == read
    notations = [one.sent[0].said.notation for one in cim_xml.read(document(elements))[:3]]
    assert notations == [KWH, KWH, "id"]


def test_a_message_in_which_no_element_ends_is_left_to_the_exact_way() -> None:
    raw = document([element(1)]).replace(b"</MeterReading>", b"</MeterReadin>")
    assert cim_scan.read(raw) is None
    assert exact(raw) == "xml-malformed"


def test_a_shape_is_learnt_once_for_messages_with_the_same_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cim_scan._kept.clear()
    first, second = ([element(n + add, f"{n}") for n in range(20)] for add in (0, 30))
    assert cim_scan.read(document(first, "\n")) is not None
    monkeypatch.setattr(cim_scan, "_learn", lambda *_: None)
    monkeypatch.setattr(cim_odd, "read", lambda *_: None)
    raw = document(second, "\n  ")
    assert cim_scan.read(raw) is None  # the white space behind the last element is another
    raw = document(second, "\n")
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)
    assert cim_scan.read(document(second, "\n", tail="<a/>")) is None
    assert cim_scan.read(document([element(1, shape="quality")], "\n")) is None


def test_shapes_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cim_scan, "AROUND_KEPT_MAX", 2)
    monkeypatch.setattr(cim_scan, "SHAPES_MAX", 2)
    monkeypatch.setattr(cim_scan, "AROUND_KEPT_LENGTH_MAX", cim_scan.MESSAGE_MIN + 200)
    cim_scan._kept.clear()
    for number in range(5):
        for shape in ("plain", "quality", "period", "two"):
            raw = document([element(n, shape=shape) for n in range(9)], tail=f"<a>{number}</a>")
            assert cim_scan.read(raw) == cim_xml.read(raw)
            assert len(cim_scan._kept) <= 2
            assert all(len(shapes) <= 2 for shapes in cim_scan._kept.values())
    cim_scan._kept.clear()
    raw = document([element(n) for n in range(9)], tail=f"<a>{'long' * 99}</a>")
    assert cim_scan.read(raw) == cim_xml.read(raw)
    assert not cim_scan._kept


@pytest.mark.parametrize("gap", ["", "\n", "\r\n  "])
@pytest.mark.parametrize("shape", ["plain", "quality", "period", "no value", "in place", "two"])
def test_elements_that_say_the_same_of_other_devices_share_it(shape: str, gap: str) -> None:
    raw = document([element(7, f"{n}.25", f"M{n}", shape) for n in range(50)], gap)
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)
    assert {id(sent.said) for one in found[1:-1] for sent in one.sent} <= {
        id(sent.said) for sent in found[0].sent
    }


@pytest.mark.parametrize("gap", ["", "\n"])
def test_a_device_may_have_an_mrid_and_several_names_of_its_own(gap: str) -> None:
    def named(n: int) -> str:
        more = f"<mRID>{n:08d}</mRID><Names><NameType><name>T</name></NameType></Names>"
        return element(7).replace("</Meter>", f"{more}<Names><name>N{n}</name></Names></Meter>")

    raw = document([named(n) for n in range(20)], gap)
    found = cim_scan.read(raw)
    assert found is not None
    assert found == cim_xml.read(raw)
    assert (found[9].mrid, found[9].names[2][2]) == ("00000009", "N9")


@pytest.mark.parametrize(
    "odd",
    [
        "<!-- <MeterReading> -->",
        "<![CDATA[<MeterReading>]]>",
        "<?pi <MeterReading>?>",
        "<MeterReading/>",
        "<Other/>",
        "<Other><MeterReading/></Other>",
        "<MeterReading><MeterReading/></MeterReading>",
        "text",
        "&amp;",
        "\u00e4",
        element(1, shape="doubled"),
        element(1, shape="mixed"),
        element(1, shape="empty value"),
        element(1, "a&amp;b"),
        element(1, "<![CDATA[1]]>"),
        element(1, "1.<!-- -->5"),
        element(1, "\r1\r\n"),
        element(1, "\n 1 \t"),
        element(1, ""),
        element(1, " "),
        element(1, "\x7f>"),
        element(1, name="'\""),
        element(1).replace(f'"{KWH}"', f"'{KWH}'"),
        element(1).replace(KWH, "&#65;"),
        element(1).replace(KWH, "a\tb\nc"),
        element(1).replace(KWH, "'>/"),
        element(1).replace("<Readings>", "<Readings\n>"),
        element(1).replace("<Meter>", "\n<Meter >"),
        element(1).replace("</Meter>", "</Meter>stray"),
        element(1).replace("<Readings>", "<Readings a=' ref=\"x\" '>"),
        element(1).replace("<Readings>", '<Readings a="&gt;<">'),
        element(1).replace("</Readings>", ""),
        element(1).replace("M1", "]]>"),
        element(1).replace("M1", "\x01"),
        element(1).replace("M1", "&undefined;"),
        "</MeterReadings>",
        "<MeterReading",
        "<",
    ],
)
@pytest.mark.parametrize("position", [0, 5, 10])
def test_what_is_odd_is_read_the_same_or_left_to_the_exact_way(odd: str, position: int) -> None:
    elements = [element(n) for n in range(10)]
    elements.insert(position, odd)
    raw = document(elements, "\n")
    found = cim_scan.read(raw)
    assert found is None or found == exact(raw)


shapes = st.sampled_from(["plain", "quality", "period", "no value", "in place", "two", "mixed"])
texts = st.text(st.sampled_from("aZ09.-+ \t\n\r<>&'\"]/!?\x00\x7fé"), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(shapes, texts, texts), min_size=1, max_size=6),
    st.sampled_from(["", "\n", " \r\n\t"]),
    texts,
)
def test_both_ways_agree(parts: list[tuple[str, str, str]], gap: str, stray: str) -> None:
    elements = [element(n, value, name, shape) for n, (shape, value, name) in enumerate(parts)]
    raw = document([*elements, element(7), *elements], gap, tail=stray)
    found = cim_scan.read(raw)
    assert found is None or found == exact(raw)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["plain", "two"]), texts, texts), max_size=4),
    st.sampled_from(["", "\n", " \r\n\t"]),
    st.integers(0, 3),
)
def test_both_ways_agree_on_elements_that_are_alike(
    parts: list[tuple[str, str, str]], gap: str, further: int
) -> None:
    odd = [element(7, value, name, shape) for shape, value, name in parts]
    alike = [element(7, f"{n}", f"M{n}", "two" if n // 3 % 2 else "plain") for n in range(12)]
    raw = document([*alike, *odd, *[gap + one for one in alike[further:]]], gap)
    found = cim_scan.read(raw)
    assert found is None or found == exact(raw)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.data())
def test_both_ways_agree_on_damaged_messages(alike: bool, data: st.DataObject) -> None:
    elements = [element(7 if alike else n, name=f"M{n}") for n in range(4)]
    raw = bytearray(document(elements, "\n"))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - cim_scan.MESSAGE_MIN))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    found = cim_scan.read(bytes(raw))
    assert found is None or found == exact(bytes(raw))


def spans_by_expat(raw: bytes) -> list[tuple[int, int]]:
    """Byte ranges of the outermost MeterReading elements as libexpat counts them."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    stack: list[tuple[str, int]] = []
    ends: list[int] = []
    spans: list[tuple[int, int]] = []

    def outermost(name: str) -> bool:
        return name == "MeterReading" and all(above != name for above, _ in stack)

    def local(name: str) -> str:
        return name.rpartition(" ")[2]

    def start(name: str, _: object) -> None:
        stack.append((local(name), parser.CurrentByteIndex))

    def end(name: str) -> None:
        _, at = stack.pop()
        if outermost(local(name)):
            ends.append(len(spans))
            spans.append((at, parser.CurrentByteIndex))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(raw, True)
    return spans


@pytest.mark.parametrize(
    "text",
    [
        "<MeterReading/>",
        "<a><MeterReading/><MeterReading /><MeterReading\n/></a>",
        "<a><MeterReading a='>' b=\"/>\">x</MeterReading\n><MeterReading></MeterReading></a>",
        "<a><!--<MeterReading>--><MeterReading><!--</MeterReading>--></MeterReading></a>",
        "<a><![CDATA[<MeterReading>]]><?x <MeterReading>?><MeterReading>1</MeterReading></a>",
        "<a b='MeterReading '>MeterReading <MeterReadings/><xMeterReading/><MeterReading/></a>",
        "<a xmlns:é='u'><é:MeterReading>é</é:MeterReading></a>",
        "<MeterReading><MeterReading><MeterReading/></MeterReading></MeterReading>",
        "\ufeff<?xml version='1.0'?><a>é<MeterReading>é</MeterReading></a>",
        "<a><MeterReading.x/><MeterReading-y/><MeterReading>&lt;</MeterReading></a>",
    ],
)
def test_spans_are_where_another_parser_sees_them(text: str) -> None:
    raw = text.encode()
    found = [(one.start, one.end) for one in cim_xml.read(raw)]
    expected = spans_by_expat(raw)
    assert [start for start, _ in found] == [start for start, _ in expected]
    for (_, end), (_, at) in zip(found, expected, strict=True):
        # expat tells the end of an empty-element tag, or the start of an end tag
        assert end == at or (raw.startswith(b"</", at) and end == raw.index(b">", at) + 1)


def test_lines_are_counted_beyond_16_bits() -> None:
    raw = b"<a>" + b"\n" * 70_000 + element(1).encode() + b"</a>"
    assert cim_xml.read(raw)[0].sent[0].line == 70_001


def test_tags_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cim_tree, "TAGS_KEPT_MAX", 3)
    monkeypatch.setattr(cim_tree, "TAG_KEPT_LENGTH_MAX", 30)
    raw = document([element(n) for n in range(3)]).replace(b"<m>", b'<m xmlns="u">')
    few = cim_xml.read(raw)
    assert len(cim_tree.local_names) <= 3
    monkeypatch.undo()
    assert cim_xml.read(raw) == few

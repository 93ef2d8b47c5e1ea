"""The guard says the same of a large message whether one of its children stands for all or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bal.collect import regular
from bal.collect.guard import Limits, guard
from bal.collect.regular import condensed
from bal.errors import Rejected

LIMITS = Limits(depth_max=6, items_max=400)


def child(name: str = "a", text: str = "1", more: str = "", gap: str = "\n  ") -> str:
    return f'<{name} x="y>">{gap}<n>{text}</n>{gap}<v>{text}</v>{more}</{name}>'


def message(*children: str, gap: str = "\n ", root: str = "r") -> str:
    return f'<?xml version="1.0"?>\n<{root} xmlns="urn:x">{gap.join(children)}</{root}>\n'


def verdict(text: str) -> tuple[object, ...]:
    try:
        guard(text.encode(), "cim", LIMITS)
    except Rejected as error:
        return error.code, error.text, error.line, error.clause
    return ()


def both_ways(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setattr(regular, "MESSAGE_MIN", 1 << 40)
    expected = verdict(text)
    monkeypatch.setattr(regular, "MESSAGE_MIN", 0)
    assert verdict(text) == expected
    return expected


def test_what_is_left_of_a_regular_message() -> None:
    text = message(*(child(text=str(number)) for number in range(20)))
    assert condensed(text) == message(child(text="0"))
    same = message(*[child(text="7")] * 9, child(text="8"))
    assert condensed(same) == message(child(text="7"))


@pytest.mark.parametrize(
    "text",
    [
        message(child()),
        message(child(text="1"), child(text="2", more="<w/>")),
        message(child(text="1"), child(text="2"), "<b>3</b>"),
        message(child(text="1"), child(text="&#50;"), child(text="3")),
        message(child(text="1"), child(text="<!-- 2 -->"), child(text="3")),
        message(child(text="1"), child(text="]]>"), child(text="3")),
        message(child(text="1"), child(text="2\n"), child(text="3")),
        message(child(text="1"), child(text="\u00e9"), child(text="3")),
        message(*(child(text=str(n), more='<i xml:id="q"/>') for n in range(3))),
        message(*(child(text=str(n), more="x") for n in range(3)), gap="x"),
        message(*(f"<a><a><n>{n}</n></a>" for n in range(3)), "</a >"),
        "<a>" + "\n".join('<a x="1"/><n>1</n></a>' for _ in range(3)),
        "<r>" + "\n".join(f"<a><n>{n}</n></a>" for n in range(3)),
        "<r>" + "\n".join(f"<a><n>{n}</n></a></r>" for n in range(3)),
        "<r/>" + "\n".join(f"<a><n>{n}</n></a>" for n in range(3)),
        message(*(f"<a><n>{n}</m></a>" for n in range(3))),
        message(*(f"<a><b><c><d><e><f>{n}</f></e></d></c></b></a>" for n in range(3))),
        message(*(f"<p:a><n>{n}</n></p:a>" for n in range(3))),
        message(*(f"<a><n>{n}</n></a>" for n in range(300))),
        message(*(f"<a><n>{n}</n></a>" for n in range(90)))[:-30],
        message(*(f"<a><n>{n}</n></a>" for n in range(9))) + "<a></a>",
        message(*(f"<a x='{n}'></a>" for n in range(9))),
        message(*(f"<a><n x='</n>'>{n}</n></a>" for n in range(9))),
        "",
        "<",
        "<r>",
    ],
)
def test_irregular_messages(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both_ways(text, monkeypatch)


PIECES = st.sampled_from([
    "<a>", "</a>", "</a >", "<a/>", "<b>", "</b>", "<a x='1'>", "1", "22", " ", "\n", "&lt;", "&",
    ">", "<n>", "</n>", "]]>", "\x01", '"', "<a", "/>", "<!-- -->", "<?p?>", "</r>", "<r>", ":",
    "\u00e9",
])  # fmt: skip


@given(
    children=st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=3),
    times=st.integers(1, 4),
    gap=st.sampled_from(["", " ", "\n ", "x"]),
    wrapped=st.booleans(),
)
def test_it_makes_no_difference(
    children: list[str], times: int, gap: str, *, wrapped: bool
) -> None:
    many = [f"<a>{one}</a>" if wrapped else one for one in children] * times
    with pytest.MonkeyPatch.context() as patch:
        both_ways(f"<r>{gap.join(many)}</r>", patch)


@given(
    texts=st.lists(st.sampled_from(["1", "2", "2.5", "", "z"]), min_size=2, max_size=12),
    at=st.integers(0, 2_000),
    piece=PIECES,
    cut=st.integers(0, 12),
)
def test_a_flaw_anywhere(texts: list[str], at: int, piece: str, cut: int) -> None:
    text = message(*(child(text=one) for one in texts))
    at %= len(text) + 1
    with pytest.MonkeyPatch.context() as patch:
        assert both_ways(text, patch) == ()
        both_ways(text[:at] + piece + text[at + cut :], patch)

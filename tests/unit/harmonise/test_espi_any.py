"""Whatever a Green Button feed holds: a result or Rejected, the same again."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from bal.model import Harmonised
from tests.unit.harmonise.message_kit import xml
from tests.unit.harmonise.test_any_bytes import damaged, settle
from tests.unit.harmonise.test_espi import (
    block,
    feed,
    local,
    meter_reading,
    of_type,
    period,
    point,
    reading,
)

Take = Callable[..., Harmonised]
GOOD = feed(
    point(), local(), meter_reading(), of_type(),
    block(reading(xml("ReadingQuality", quality=8), period(), cost=1), reading(period(1768472100))),
)  # fmt: skip


@given(st.binary(max_size=200))
def test_any_bytes(take: Take, raw: bytes) -> None:
    settle(take, raw, "espi")


@settings(max_examples=200)
@given(st.data())
def test_damaged_feeds(take: Take, data: st.DataObject) -> None:
    settle(take, damaged(GOOD, data), "espi")


names = st.sampled_from(
    ["UsagePoint", "MeterReading", "ReadingType", "IntervalBlock", "IntervalReading", "interval",
     "timePeriod", "start", "duration", "value", "cost", "ReadingQuality", "quality", "tou", "uom",
     "ServiceCategory", "kind", "LocalTimeParameters", "tzOffset", "dstStartRule", "UsageSummary",
     "billingPeriod", "statusTimeStamp", "interharmonic", "numerator", "intervalLength", "other",
     "accumulationBehaviour", "defaultQuality"]
)  # fmt: skip
texts = st.sampled_from(
    ["0", "1", "4", "12", "72", "900", "1768471200", "-1", "x", " 7 ", "9" * 20, "360E2000", ""]
)


def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inside = st.lists(children, max_size=6).map("".join)
    return st.builds("<{0}>{1}</{0}>".format, names, inside)


elements = st.recursive(st.builds("<{0}>{1}</{0}>".format, names, texts), element, max_leaves=30)
links = st.tuples(st.sampled_from(["self", "up", "related", "x"]), st.sampled_from(["a", "b", "c"]))


@st.composite
def entries(draw: st.DrawFn) -> str:
    sent = draw(st.lists(links, max_size=4))
    content = "".join(draw(st.lists(elements, max_size=2)))
    content = f'<content xmlns:e="http://naesb.org/espi">{content}</content>'.replace(
        "<content", "<a:content", 1
    ).replace("</content>", "</a:content>")
    hrefs = "".join(f'<a:link rel="{rel}" href="{href}"/>' for rel, href in sent)
    return (
        f"<a:entry><a:id>{draw(st.sampled_from(['', 'u', 'v']))}</a:id>{hrefs}{content}</a:entry>"
    )


@settings(max_examples=200)
@given(st.lists(entries(), max_size=5))
def test_any_elements_and_links(take: Take, several: list[str]) -> None:
    start = '<a:feed xmlns:a="http://www.w3.org/2005/Atom" xmlns="http://naesb.org/espi">'
    settle(take, f"{start}{''.join(several)}</a:feed>".encode(), "espi")

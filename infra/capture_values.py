"""What `gridseal replay-capture` prints of data frames, value by value."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from bal.c37118.data import Data, Layout
from bal.c37118.frame import time_us
from bal.harmonise.c37118_channels import Channels
from bal.harmonise.c37118_words import stat_words, time_words
from bal.times import rfc3339
from bal.wording import channel

if TYPE_CHECKING:
    from field.capture import Stream


def values(stream: "Stream", *, everything: bool, option: str) -> Iterator[str]:
    """The first data frame of a stream, or all: time, its quality, STAT and each channel.

    Numbers are those that would be certified (docs/spec/c37118.md); — where one is absent.
    """
    count = stream.kinds[0]
    more = f" of {count}, all with {option}" if count > 1 and not everything else ""
    for number, (layout, data) in enumerate(islice(stream.data(), None if everything else 1), 1):
        yield f"  data frame {number}{more}: {_when(layout, data)}"
        quality = ", ".join(time_words(data.time_quality))
        yield f"    time quality {data.time_quality:02x}: {quality}"
        for of, span in zip(_channels(layout), layout.spans, strict=True):
            yield from _pmu(of, data.values[span])


def _when(layout: Layout, data: Data) -> str:
    base = layout.config.time_base
    if data.fraction >= base:
        return f"SOC {data.soc}, FRACSEC {data.fraction}, which is not below TIME_BASE"
    return rfc3339(time_us(data.soc, data.fraction, base))


@cache
def _channels(layout: Layout) -> list[Channels]:
    return [Channels(layout.config, pmu) for pmu in layout.config.pmus]


def _pmu(of: Channels, values: tuple[int, ...]) -> Iterator[str]:
    stat = values[0]
    name = of.pmu.station or "(no name)"
    yield f"    {name}, IDCODE {of.pmu.idcode}: STAT {stat:04x}: {', '.join(stat_words(stat))}"
    texts = of.texts(values)
    wide = max(len(component) for component, _, _ in of.channels)
    for (component, measurand, phase), text in zip(of.channels, texts, strict=True):
        unit = channel(component, measurand, phase)[1]
        value = "—" if text is None else f"{text} {unit if unit != '1' else ''}".rstrip()
        if measurand == "digital" and text is not None:
            value = f"{int(text):04x}"
        yield f"      {component:{wide}}  {measurand:13}  {value}"

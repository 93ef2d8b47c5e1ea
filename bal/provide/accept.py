"""Which form of a page an Accept header asks for (RFC 9110 §12.5.1)."""

import re
from collections.abc import Sequence

JSON, JSON_LD, TURTLE = "application/json", "application/ld+json", "text/turtle"
CIM, XML = "application/cim+xml", "application/xml"
N_QUADS = "application/n-quads"
# In order of preference where a range leaves it open; who names a form besides JSON means it.
BY_RANGE = (JSON, JSON_LD, TURTLE, N_QUADS, CIM, XML)
BY_NAME = (JSON_LD, TURTLE, N_QUADS, CIM, XML, JSON)

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def choose(
    accept: str, by_range: Sequence[str] = BY_RANGE, by_name: Sequence[str] = BY_NAME
) -> str | None:
    """The media type to answer with; None where none of ours is wanted.

    accept: all Accept fields joined by commas; empty where there is none; by_range, by_name:
    the forms that there are, by preference; the first of by_range where nothing is asked for.
    """
    if not accept.strip():
        return by_range[0]
    wanted: dict[str, int] = {}
    for item in accept.lower().split(","):
        media, *options = (part.strip() for part in item.split(";"))
        given = [option[2:] for option in options if option.startswith("q=")]
        wanted[media] = _thousandths(given[0]) if given else 1000
    named = [form for form in by_name if wanted.get(form, 0) > 0]
    ranged = [form for form in by_range if form not in wanted and _of_range(form, wanted) > 0]
    # a stable sort: at the same quality a form that is named comes before one in a range
    best = sorted(named + ranged, key=lambda form: -wanted.get(form, _of_range(form, wanted)))
    return best[0] if best else None


def _of_range(form: str, wanted: dict[str, int]) -> int:
    family = f"{form.partition('/')[0]}/*"
    return wanted[family] if family in wanted else wanted.get("*/*", 0)


def _thousandths(quality: str) -> int:
    # RFC 9110 §12.4.2; anything else counts as "not wanted"
    if not _QUALITY.fullmatch(quality):
        return 0
    whole, _, fraction = quality.partition(".")
    return int(whole + fraction.ljust(3, "0"))

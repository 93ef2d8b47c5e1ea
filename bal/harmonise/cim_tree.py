"""Elements of an IEC 61968-9 message by their local names; names and references in them.

Texts stay as sent. Namespaces and prefixes don't matter, the order of elements neither.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree

from bal.harmonise import reading_type_words

TAGS_KEPT_MAX = 4_096
TAG_KEPT_LENGTH_MAX = 1_024  # characters, the namespace's included
GIVEN_MAX = 128  # texts of one type that are looked at

Name = tuple[str | None, str | None, str | None]
"""Authority, type and name of one Names element, as sent; None where the element is absent."""

_SPACE = " \t\r\n"


class _LocalNames(dict[object, str]):
    """Tag → name without namespace; all messages together have few different tags."""

    def __missing__(self, tag: object) -> str:
        text = str(tag)
        name = text.rpartition("}")[2]
        if len(text) <= TAG_KEPT_LENGTH_MAX:
            if len(self) >= TAGS_KEPT_MAX:
                self.clear()
            self[tag] = name
        return name


local_names = _LocalNames()


def first(element: etree._Element | None, name: str) -> etree._Element | None:
    """The first child of that name."""
    if element is not None:
        for child in element:
            if local_names[child.tag] == name:
                return child
    return None


def text(element: etree._Element | None, name: str) -> str | None:
    """The text of the first child of that name; None where there is none."""
    child = first(element, name)
    return None if child is None else child.text or ""


def named(element: etree._Element) -> tuple[str | None, tuple[Name, ...]]:
    """The first mRID and all Names of a Meter, an EndDevice or a UsagePoint."""
    mrid: str | None = None
    found: list[Name] = []
    for child in element:
        name = local_names[child.tag]
        if name == "mRID" and mrid is None:
            mrid = child.text or ""
        elif name == "Names":
            found.append(_name(child))
    return mrid, tuple(found)


def _name(element: etree._Element) -> Name:
    authority = kind = found = None
    for child in element:
        name = local_names[child.tag]
        if name == "name" and found is None:
            found = child.text or ""
        elif name == "NameType":
            kind = text(child, "name")
            authority = text(first(child, "NameTypeAuthority"), "name")
    return authority, kind, found


class Kind(NamedTuple):
    """An element that stands for a code: what the code looks like, and the parts it may have."""

    code: re.Pattern[str]
    parts: tuple[str, ...]  # elements that say one number each, in the order of the code


def _numbers(count: int) -> re.Pattern[str]:
    return re.compile(rf"-?[0-9]{{1,6}}(?:\.-?[0-9]{{1,6}}){{{count - 1}}}")


def _part(name: str) -> str:
    """interharmonicNumerator is the element numerator in interharmonic."""
    return re.sub("(Numerator|Denominator)$", lambda match: f".{match[1].lower()}", name)


KINDS = {
    "ReadingType": Kind(_numbers(18), tuple(map(_part, reading_type_words.NAMES))),
    "ReadingQualityType": Kind(_numbers(3), ("system", "category", "subCategory")),
    "EndDeviceEventType": Kind(_numbers(4), ("type", "domain", "subDomain", "eventOrAction")),
}


class Reference(NamedTuple):
    """What a ReadingType, a ReadingQualityType or an EndDeviceEventType comes to."""

    texts: tuple[str, ...]  # one; several where it gives different codes
    chosen: bool  # what the texts say decided, not the elements they stand in


def reference(element: etree._Element) -> Reference:
    """The code that an element gives or refers to.

    By the attribute `ref`, an mRID, a name, or the parts of the code as elements (annexes C to E);
    else its text. Of several the code counts, and the first one where none is a code. Parts that
    say something else than the code beside them make another code.
    """
    given = list(_given(element))
    kind = KINDS[local_names[element.tag]]
    parts = _parts(element, kind) if len(element) else {}
    if len(given) == 1 and not parts:
        return Reference((given[0],), chosen=False)
    if not given:
        if parts:
            return Reference((_composed(parts, kind),), chosen=True)
        return Reference((element.text or "",), chosen=False)
    codes = dict.fromkeys(
        one for one in given[:GIVEN_MAX] if kind.code.fullmatch(one.strip(_SPACE)) is not None
    )
    for code in list(codes) if parts else ():
        numbers = zip(kind.parts, code.strip(_SPACE).split("."), strict=True)
        said = ".".join(parts.get(part) or number for part, number in numbers)
        codes |= {} if said == code.strip(_SPACE) else {said: None}
    return Reference(tuple(codes) or (given[0],), chosen=True)


def definition(element: etree._Element) -> tuple[list[str], str | None]:
    """What a type that is defined beside the readings is called, and the code it has, if any."""
    kind = KINDS[local_names[element.tag]]
    given = [one.strip(_SPACE) for one in _given(element)]
    parts = _parts(element, kind)
    said = [*given, *([_composed(parts, kind)] if parts else [])]
    codes = {one for one in said if kind.code.fullmatch(one) is not None}
    names = [one for one in given if one and one not in codes]
    return names, codes.pop() if len(codes) == 1 else None


def _given(element: etree._Element) -> Iterator[str]:
    ref = element.get("ref")
    if ref is not None:
        yield ref
    for child in element:
        name = local_names[child.tag]
        if name == "mRID":
            yield child.text or ""
        elif name == "Names":
            yield text(child, "name") or ""


def _parts(element: etree._Element, kind: Kind) -> dict[str, str]:
    """The text of each part that is there; of one that stands twice the first."""
    found: dict[str, str] = {}
    for child in element:
        name = local_names[child.tag]
        below = [(f"{name}.{local_names[one.tag]}", one) for one in child]
        for path, one in ((name, child), *below):
            if path in kind.parts:
                found.setdefault(path, (one.text or "").strip(_SPACE))
    return found


def _composed(parts: dict[str, str], kind: Kind) -> str:
    """The code of these parts, 0 for what is absent; not a code where one is no number."""
    code = ".".join(parts.get(part) or "0" for part in kind.parts)
    if kind.code.fullmatch(code) is not None:
        return code
    return " ".join(f"{part}={said}" for part, said in parts.items())

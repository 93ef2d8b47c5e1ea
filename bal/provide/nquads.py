"""Records as N-Quads (W3C RDF 1.1 N-Quads): each record a graph of its own, named by its IRI.

Most readings of a page differ in device, times, value and evidence only. What they say is then the
same text with other words in it: it is written once by the general way and filled in from then on,
thirty times as quick. Tests hold both against each other, and against another library's JSON-LD.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from bal.provide.rdf import Statement, Viewed, said_of, unreadable
from bal.provide.rdf_context import BASE_IRI, IRI, JSON, NODE, RDF_TYPE, Context

SHAPES_MAX = 4096  # texts to be filled in that are kept; then all are made anew

_RDF_JSON = "rdf:JSON"
# Relative ids that mean the same below every base that records have: no dot segments, no query
_RELATIVE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_%~-]*(?:[./][A-Za-z0-9_%~-]+)*(?:#.*)?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

_TIME = r"[0-9T:.-]{19,26}Z"
_DEVICE = r"[A-Za-z0-9_-]{43}"
_HEX = r"[0-9a-f]{64}"
_DECIMAL = r"-?[0-9.]+"
_RESULT = rf'"hasResult":\{{"hasValue":"(?P<value>{_DECIMAL})"(?P<a>,.*?)'
_DEVICES = r',"madeBy":\{"id":"(?P=device)"(?P<b>.*?)"id":"(?P=device)#(?P<c>.*?)'
_TAIL = r',"type":"Observation","unit":"(?P<e>[^"]*)","v":"1","value":"(?P=value)"\}'
_INTERVAL = (
    rf'\{{"begin":"(?P<begin>{_TIME})","device":"(?P<device>{_DEVICE})","end":"(?P<end>{_TIME})",'
    rf'"evidence":"(?P<evidence>{_HEX})",(?P<d>.*?)'
    r'"hasPhenomenonTime":\{"hasBeginning":\{"id":"#begin","inXSDDateTimeStamp":"(?P=begin)",'
    r'"type":"Instant"\},"hasEnd":\{"id":"#end","inXSDDateTimeStamp":"(?P=end)",'
    rf'"type":"Instant"\}},"id":"#interval","type":"ProperInterval"\}},{_RESULT}'
    rf',"id":"","kind":"(?P<f>[a-z]+)"{_DEVICES}{_TAIL}'
)
_INSTANT = (
    rf'\{{"device":"(?P<device>{_DEVICE})","evidence":"(?P<evidence>{_HEX})",(?P<d>.*?){_RESULT}'
    rf',"hasTimestamp":"(?P<end>{_TIME})","id":"","kind":"(?P<f>[a-z]+)"{_DEVICES}'
    rf',"time":"(?P=end)"{_TAIL}'
)
_AGAIN = re.compile(r"\(\?P=([a-z]+)\)")


def _named_again(form: str) -> str:
    """The form with a group of its own for each place where a word stands again."""
    count = itertools.count(2)
    return _AGAIN.sub(lambda again: f"(?P<{again[1]}_{next(count)}>{again[0]})", form)


_FORMS = [re.compile(one.encode()) for one in (_INTERVAL, _INSTANT)]  # of bytes: thrice as quick
_PLACES = [re.compile(_named_again(one).encode()) for one in (_INTERVAL, _INSTANT)]
# What stands for a word while a text is made; a record that has one of these is written out.
_WORDS = {
    "commitment": "c0ffee" * 10 + "c0de",
    "index": "987654321987654321",
    "device": "Gridseal-device-that-there-is-not-000000000",
    "begin": "2199-01-01T01:02:03.456781Z",
    "end": "2199-01-01T01:02:03.456782Z",
    "evidence": "feedf00d" * 8,
    "value": "271828182845904523536.28747135266249775724709369995",
}
_ANY_WORD = re.compile("|".join(map(re.escape, _WORDS.values())))
_COMMITMENT, _DEVICE_MARK = b"\x01", b"\x02"
_KEY = ("a", "b", "c", "d", "e", "f")
_VARY = ("device", "begin", "end", "evidence", "value")


@dataclass(frozen=True, slots=True)
class _Shape:
    """A text with places to be filled in.

    What stands in it often, the commitment and the device, is replaced at once in all places; a
    control character stands for each, which no text of N-Quads has.
    """

    text: bytes  # %s for each of the others
    groups: tuple[str, ...]  # of the match: the device, then what the places are filled with
    places: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]

    def fill(self, commitment: bytes, index: bytes, found: "tuple[bytes | Any, ...]") -> bytes:
        """The quads of one record."""
        text = self.text % self.places((index, *found))
        return text.replace(_COMMITMENT, commitment).replace(_DEVICE_MARK, found[0])


@dataclass
class Writer:
    """Writes quads below one context, and remembers the texts of records seen."""

    context: Context
    _shapes: dict[tuple[bytes, ...], _Shape | None] = field(default_factory=dict)
    _iris: dict[str, str] = field(default_factory=dict)

    def page(self, page: Iterable[Viewed]) -> bytes:
        """One page, each record in a graph named by its IRI.

        Raises Stop("record-unreadable") where a record is none.
        """
        return b"".join(map(self.record, page))

    def record(self, one: Viewed) -> bytes:
        """The quads of one record, a line each. Raises Stop("record-unreadable")."""
        try:
            found = _FORMS[0].fullmatch(one.record) or _FORMS[1].fullmatch(one.record)
            if found is None or one.index is None:
                return self.written_out(one)
            # The bytes between the words are the key: whatever stands in them stays as it is.
            key = (found.re.pattern, *found.group(*_KEY))
            if key not in self._shapes:
                self._remember(key, found)
            shape = self._shapes.get(key)
            if shape is None:
                return self.written_out(one)
            index = str(one.index).encode()
            return shape.fill(one.commitment.encode(), index, found.group(*shape.groups))
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(one) from error

    def written_out(self, one: Viewed) -> bytes:
        """The same the general way. Raises KeyError, TypeError, ValueError for no record."""
        own = BASE_IRI + one.commitment
        return self.quads(said_of(one, self.context), own, own).encode()

    def quads(self, found: Iterable[Statement], base: str, graph: str) -> str:
        """Statements as lines. base: the IRI that "" and "#…" stand for; graph: "" for triples."""
        end = f" <{graph}> .\n" if graph else " .\n"
        lines = []
        for subject, member, sort, text in found:
            at = self._iri(subject, base)
            if sort == "type":
                value = self._iri(self.context.terms[text].iri, base)
                lines.append(f"{at} <{RDF_TYPE}> {value}{end}")
                continue
            verb = self._iri(self.context.terms[member].iri, base)
            if sort == NODE:
                value = self._iri(text, base)
            else:
                # RDF 1.1 N-Quads knows the escapes that JSON's strings use (ECHAR, UCHAR)
                value = msgspec.json.encode(text).decode()
                if sort:
                    value += "^^" + self._iri(_RDF_JSON if sort == JSON else sort, base)
            lines.append(f"{at} {verb} {value}{end}")
        return "".join(lines)

    def _iri(self, name: str, base: str) -> str:
        """An id or compact IRI in full. Raises ValueError where it can't be."""
        if not name or name[0] == "#":
            found = base + name
        elif name in self._iris:
            return self._iris[name]
        else:
            prefix, colon, _ = name.partition(":")
            if colon and prefix in self.context.prefixes:
                found = self.context.expand(name)
                self._iris[name] = f"<{found}>"  # vocabulary only: few
            elif _RELATIVE.fullmatch(name):
                found = BASE_IRI + name
            elif _SCHEME.match(name):
                found = name
            else:
                raise ValueError("an id is no IRI")
        if not IRI.fullmatch(found):
            raise ValueError("an id is no IRI")
        return f"<{found}>"

    def _remember(self, key: tuple[bytes, ...], found: "re.Match[bytes]") -> None:
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        self._shapes[key] = None
        if _ANY_WORD.search(found.string.decode()):
            return
        groups = tuple(name for name in _VARY if name in found.groupdict())
        example = Viewed(_WORDS["commitment"], int(_WORDS["index"]), _with_words(found.string))
        text = self.written_out(example).replace(b"%", b"%%")
        text = text.replace(_WORDS["commitment"].encode(), _COMMITMENT)
        text = text.replace(_WORDS["device"].encode(), _DEVICE_MARK)
        number = {_WORDS[name]: n for n, name in enumerate(("index", *groups))}
        places = itemgetter(*(number[word] for word in _ANY_WORD.findall(text.decode())))
        text = _ANY_WORD.sub("%s", text.decode()).encode()
        self._shapes[key] = _Shape(text, groups, places)


def _with_words(record: bytes) -> bytes:
    """A record of one of the forms with a stand-in for each word, in the places of the form only.

    What else a record says may read the same: `"v":"1"` is no value.
    """
    found = _PLACES[0].fullmatch(record) or _PLACES[1].fullmatch(record)
    if found is None:
        raise ValueError("a record of neither form")
    places = [
        (*found.span(name), word)
        for name in found.groupdict()
        if (word := name.partition("_")[0]) in _VARY
    ]
    parts, at = [], 0
    for start, end, word in sorted(places):
        parts += [record[at:start], _WORDS[word].encode()]
        at = end
    parts.append(record[at:])
    return b"".join(parts)

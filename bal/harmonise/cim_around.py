"""What an IEC 61968-9 message says around its readings: namespace, header, definitions of types.

The envelope is that of IEC 61968-100 Message.xsd: a header whose verb says whether the payload is
reported, or is to be undone. Its noun and its context are checked, the rest of it is not read.
"""

import re
from dataclasses import dataclass, field

from lxml import etree

from bal.errors import Rejected
from bal.harmonise import cim_lost, cim_tree
from bal.harmonise.report import Report

CLAUSE_MESSAGE = "IEC 61968-100 Message"

# `http://iec.ch/TC57/2011/MeterReadings#` of the first edition's schema, later years, and others
_IEC = re.compile(r"https?://(?:www\.)?iec\.ch/TC57/.*", re.IGNORECASE | re.DOTALL)
# IEC 61968-100 HeaderType.Noun, HeaderType.Verb, HeaderType.Context, in lower case
_NOUNS = frozenset({"meterreadings", "meterreading", "enddeviceevents", "enddeviceevent"})
_REPORTED = frozenset({
    "", "create", "created", "change", "changed", "reply", "execute", "executed", "close",
    "closed", "get", "update", "updated",
})  # fmt: skip
_UNDONE = frozenset({"cancel", "canceled", "cancelled", "delete", "deleted"})
_CONTEXTS = frozenset({"", "production"})
_READINGS = frozenset({
    "Reading", "Readings", "IntervalBlock", "IntervalBlocks", "IntervalReading", "IntervalReadings",
})  # fmt: skip
_SPACE = " \t\r\n"


@dataclass(slots=True)
class Around:
    """The same for all readings of a message."""

    namespace: str = ""  # of the first MeterReading or EndDeviceEvent
    verb: str = ""
    noun: str = ""
    context: str = ""
    has_events: bool = False  # there are events among the readings
    begun: bool = False  # the first MeterReading or EndDeviceEvent was met
    line: int = 0  # of the header, else of the first MeterReading or EndDeviceEvent
    codes: dict[str, str] = field(default_factory=dict)  # what a defined type is called → its code
    conflicting: set[str] = field(default_factory=set)  # called the same, but of different codes
    stray: set[str] = field(default_factory=set)  # elements of readings that no MeterReading has

    def code(self, sent: str) -> str:
        """The code that a reference leads to; itself where nothing is defined by that name."""
        return self.codes.get(sent.strip(_SPACE), sent)

    def begin(self, element: etree._Element) -> None:
        """The first MeterReading or EndDeviceEvent."""
        self.begun = True
        self.namespace = str(element.tag).rpartition("}")[0].removeprefix("{")
        if self.line == 0:
            self.line = element.sourceline or 1

    def take(self, element: etree._Element, name: str) -> None:
        """What an element outside the readings says; name: its local name."""
        if name == "Header":
            if not self.begun:  # it stands before the readings, as it should
                self.line = element.sourceline or 1
            for part in element:
                said = (part.text or "").strip(_SPACE).lower()
                match cim_tree.local_names[part.tag]:
                    case "Verb":
                        self.verb = self.verb or said
                    case "Noun":
                        self.noun = self.noun or said
                    case "Context":
                        self.context = self.context or said
        elif name in _READINGS and cim_lost.has_value(element):
            self.stray.add(name)
        elif name in cim_tree.KINDS:
            self._define(element)

    def _define(self, element: etree._Element) -> None:
        names, code = cim_tree.definition(element)
        for name in names:
            if code is None or name in self.conflicting or self.codes.get(name, code) != code:
                self.conflicting.add(name)
                self.codes.pop(name, None)
            else:
                self.codes[name] = code


def check(around: Around, report: Report) -> None:
    """What the message as a whole deviates in, as findings of the summary.

    Raises Rejected("verb-not-taken") where the header asks to cancel or delete: readings that
    somebody takes back must not be certified as if they were reported.
    """
    if around.verb in _UNDONE:
        raise Rejected(
            "verb-not-taken",
            "the header's verb takes readings back; what is certified stays, and a corrected "
            "value is sent as a reading whose quality says that it was edited",
            field="Verb",
            line=around.line,
            clause=CLAUSE_MESSAGE,
        )
    doubts = []
    if around.namespace and _IEC.fullmatch(around.namespace) is None:
        doubts.append(("namespace-not-iec", "xmlns", "the namespace is not one of IEC TC 57"))
    if around.verb not in _REPORTED:
        doubts.append(("header-unexpected", "Verb", "the header's verb is none of IEC 61968-100"))
    if around.noun and around.noun not in _NOUNS:
        doubts.append(("header-unexpected", "Noun", "the header's noun is not what the payload is"))
    if around.context not in _CONTEXTS:
        text = "the header says that this is not of production; its readings count all the same"
        doubts.append(("header-unexpected", "Context", text))
    for name in sorted(around.stray):
        text = f"{name} with a value stands in no MeterReading: nobody knows which meter's it is"
        error = Rejected("value-misplaced", text, field=name)
        report.refuse(error, around.line, field=name, clause=CLAUSE_MESSAGE)
    for code, name, text in doubts:
        report.doubt(code, text, around.line, field=name, clause=CLAUSE_MESSAGE)

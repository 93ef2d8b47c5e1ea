"""A DER resource: each member a value with its unit, or a state with its words.

IEEE 2030.5 DERStatus, DERAvailability, DERCapability, DERSettings.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from bal.errors import Rejected
from bal.harmonise import record, sep2_period, sep2_type
from bal.harmonise.instant import Instant, of_us
from bal.harmonise.quality import quality
from bal.harmonise.quantity import decimal_text
from bal.harmonise.record import Origin
from bal.harmonise.report import Report
from bal.harmonise.sep2_der_table import MEMBERS, TIMES, State, Value
from bal.harmonise.sep2_xml import Node
from bal.harmonise.states import States
from bal.model import Draft, Finding

_SPACE = " \t\r\n"
_DECIMAL = re.compile(r"[0-9]{1,10}")
_HEX = re.compile(r"[0-9A-Fa-f]{1,8}")  # HexBinary8 and HexBinary32; clients leave zeros out

_Doubt = tuple[str, str]  # code and text


class _Said(NamedTuple):
    """One member, and when it holds."""

    node: Node
    times: list[str]  # as sent
    at: Instant


class Resource:
    """The records of one resource."""

    def __init__(
        self,
        node: Node,
        report: Report,
        origin: Origin,
        received_us: int | None = None,
        *,
        edition_2013: bool = False,
    ) -> None:
        """received_us: of the message, since a DERCapability has no time of its own."""
        self._node = node
        self._report = report
        self._origin = origin
        self._received_us = received_us
        self._edition_2013 = edition_2013
        self._clause = f"IEEE 2030.5-2018 {node.name}"
        self._all: list[Finding] = []  # what is told of all its records

    def take(self) -> list[Draft]:
        """All of them, in order; what is wrong with the others goes to the report."""
        drafts: list[Draft] = []
        members = [one for one in self._node.children if one.name in MEMBERS[self._node.name]]
        for one in members:
            try:
                drafts.append(self._draft(one))
                self._report.took(one.line)
            except Rejected as error:
                self._report.refuse(error, one.line, field=one.name, clause=self._clause)
        if not members:
            nothing = Rejected("no-reading", "no status in it")
            name = self._node.name
            self._report.refuse(nothing, self._node.line, field=name, clause=self._clause)
        return drafts

    def _draft(self, node: Node) -> Draft:
        member = MEMBERS[self._node.name][node.name]
        said = _Said(node, *self._time(node))
        number = member.number if isinstance(member, Value) else ""
        inside = number or "value"
        values = node.texts(inside) if node.children or number else [node.text]
        powers = node.texts("multiplier") if number else []
        again = len(self._node.all(node.name)) > 1
        if again or len(values) != 1 or len(said.times) > 1 or len(powers) > 1:
            code = "value-missing" if not values else "reading-ambiguous"
            text = "a member stands once, with one value, and at most one time and multiplier"
            return self._event("incomplete", said, [(code, text)])
        if isinstance(member, State):
            return self._state(member, said, values[0])
        lowest, highest = member.limits
        field = f"{node.name}/{inside}" if node.children else node.name
        value = sep2_type.integer(values[0], lowest, highest, field=field, clause=self._clause)
        power = self._power(powers[0], node) if powers else 0
        named = "" if member.register in {node.name, "stateOfCharge"} else node.name
        codes = quality(())
        shape = record.shape("telemetry", member.register, named, member.quantity, codes.json)
        return record.reading(
            record.slot(shape, said.at, said.at),
            self._origin,
            decimal_text(value, power + member.shift),
            codes.rank,
            record.findings_text(self._all),
        )

    def _time(self, node: Node) -> tuple[list[str], Instant]:
        """The times as sent, and the instant that they mean."""
        name = TIMES[self._node.name]
        times = node.texts("dateTime") if name == "readingTime" else []
        field = "dateTime" if times else name
        times = times or (self._node.texts(name) if name else [])
        if times:
            return times, sep2_period.instant(times[0], field)
        if name or self._received_us is None:
            raise sep2_period.missing(name or "DERCapability")
        at = of_us(self._received_us)
        if not self._all:
            text = "the standard has no time here; that of the message's receipt stands for it"
            line, field = self._node.line, self._node.name
            told = self._report.doubt(
                "time-of-receipt", text, line, field=field, clause=self._clause, severity="info"
            )
            self._all.append(told)
        return [], at

    def _power(self, text: str, node: Node) -> int:
        highest = sep2_type.MULTIPLIER_MAX
        field = f"{node.name}/multiplier"
        return int(sep2_type.integer(text, -highest, highest, field=field, clause=self._clause))

    def _state(self, member: State, said: _Said, value: str) -> Draft:
        if member.words is None:  # the manufacturer's own code
            return self._event("state", said, [])
        if member.another and self._edition_2013:
            text = "the edition of 2013 numbers these otherwise; the code is kept"
            return self._event("state", said, [("state-unknown", text)])
        number = _number(value, member.words)
        words, whole = ([], False) if number is None else member.words.of(number)
        text = "a code, or a bit of it, that the standard reserves; kept as sent"
        doubts = [] if whole else [("state-unknown", text)]
        return self._event("state" if words else "unmapped", said, doubts, words)

    def _event(
        self, name: str, said: _Said, doubts: Sequence[_Doubt], words: Sequence[str] = ()
    ) -> Draft:
        node = said.node
        kept = {
            "measurand": [node.name],
            "time": said.times,
            "value": node.texts("value") if node.children else [node.text],
            "displacement": node.texts("displacement"),
            "multiplier": node.texts("multiplier"),
        }
        kept = {member: texts for member, texts in kept.items() if texts}
        record.check_verbatim(kept)
        told = [
            self._report.doubt(code, text, node.line, field=node.name, clause=self._clause)
            for code, text in doubts
        ]
        return record.event(
            name,
            self._origin,
            notation=node.name,
            verbatim=kept,
            quality=quality(()),
            begin=said.at,
            end=said.at,
            findings=[*told, *self._all],
            means=words,
        )


def _number(text: str, words: States) -> int | None:
    """The code that `text` is; None where it is none."""
    stripped = text.strip(_SPACE)
    form = _HEX if words.bits else _DECIMAL
    return int(stripped, 16 if words.bits else 10) if form.fullmatch(stripped) else None

"""VEE of one shard while a day is closed: which rows the checks need, and what they make of them.

Beside bal/closing.py, which sees more than one stage as it does; docs/spec/vee.md.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from bal.derive.fold import KINDS, series_days
from bal.derive.local_day import local_day
from bal.derive.vee import Derived, derive_day, templates_of
from bal.derive.vee_day import Day, day_of, needs_earlier, span_of
from bal.derive.vee_estimate import LIKE_WEEKS, LikeDay, like_day, needs_like_days
from bal.derive.vee_rules import VeeRules
from bal.model import DeviceInfo, Pseudonym, StoredRecord
from bal.ports import DayRows
from bal.slots import SLOT_S_MAX

_DAY_US = 86_400_000_000
_OVERHANG_US = SLOT_S_MAX * 1_000_000

Known = Mapping[Pseudonym, Mapping[str, int]]  # by device, register → slot_s of series that go on


class Shard:
    """One shard of one date. `take` once for each device, then `derived`.

    Of devices that need earlier rows these are read afterwards, a day of the shard at a time.
    """

    def __init__(
        self, rows: DayRows, day: date, prefix: int, rules: VeeRules, *, name: str, known: Known
    ) -> None:
        """name: of the shard; known: as of `fold.series_days`, by device."""
        self._rows, self._day, self._prefix, self._rules = rows, day, prefix, rules
        self._name, self._known = name, known
        self._own: dict[Pseudonym, tuple[DeviceInfo, Sequence[StoredRecord]]] = {}  # that wait
        self._found: list[Derived] = []

    def take(self, info: DeviceInfo, rows: Sequence[StoredRecord], until_us: int) -> None:
        """A device's rows, of all kinds; those that end after `until_us` are another day's."""
        begin_us = local_day(self._day, info.zone)[0]
        kept = [row for row in rows if begin_us <= row.begin_us and row.end_us <= until_us]
        day, rules = self._day_of(info, kept), self._rules_of(info)
        wanting = any(needs_like_days(one, rules) for one in day.series)
        if wanting or needs_earlier(day):
            self._own[info.device] = (info, kept)
        else:
            self._derive(info, kept, day, {}, {})

    def derived(self) -> list[Derived]:
        """All that the shard's devices lead to, in order of device, kind, register and time."""
        if self._own:
            earlier = self._earlier()
            like = self._like_days()
            for device, (info, rows) in self._own.items():
                days, templates = like.get(device, ({}, {}))
                more = [*earlier.get(device, ()), *rows]
                self._derive(info, more, self._day_of(info, more), days, templates)
            self._own.clear()
        return sorted(self._found, key=lambda one: one[:5])

    def _day_of(self, info: DeviceInfo, rows: Sequence[StoredRecord]) -> Day:
        return day_of(rows, span_of(self._day, info.zone), self._known.get(info.device, {}))

    def _derive(
        self,
        info: DeviceInfo,
        rows: Sequence[StoredRecord],
        day: Day,
        like: Mapping[str, Sequence[LikeDay]],
        templates: Mapping[str, bytes],
    ) -> None:
        rules = self._rules_of(info)
        for some in derive_day(info.device, rows, day, rules, like=like, templates=templates):
            self._found += some

    def _rules_of(self, info: DeviceInfo) -> VeeRules:
        """No estimates behind a subject epoch: what was used then is another one's, or nobody's."""
        over = 0 < info.until_us <= local_day(self._day, info.zone)[0]
        return replace(self._rules, estimate=0) if over else self._rules

    def _earlier(self) -> dict[Pseudonym, list[StoredRecord]]:
        """What registers showed on the day before, of the devices that wait."""
        begins = {
            device: local_day(self._day, info.zone)[0] for device, (info, _) in self._own.items()
        }
        lo, hi = min(begins.values()) - _DAY_US, max(begins.values())
        return {
            device: [
                row
                for row in rows
                if row.begin_us == row.end_us
                and begins[device] - _DAY_US <= row.end_us < begins[device]
                and row.kind in KINDS
            ]
            for device, rows in self._of_shard(lo, hi)
        }

    def _like_days(
        self,
    ) -> dict[Pseudonym, tuple[dict[str, list[LikeDay]], dict[str, bytes]]]:
        """The same weekday of the four weeks before by register, and what its records look like."""
        if not self._rules.estimate:
            return {}
        like: dict[Pseudonym, dict[str, list[LikeDay]]] = defaultdict(lambda: defaultdict(list))
        templates: dict[Pseudonym, dict[str, bytes]] = defaultdict(dict)
        for weeks in range(1, LIKE_WEEKS + 1):
            day = self._day - timedelta(weeks=weeks)
            spans = {device: span_of(day, info.zone) for device, (info, _) in self._own.items()}
            lo = min(span.begin_us for span in spans.values())
            hi = max(span.end_us for span in spans.values()) + _OVERHANG_US
            for device, rows in self._of_shard(lo, hi):
                begin_us, end_us = spans[device][:2]
                mine = [row for row in rows if begin_us <= row.begin_us < end_us]
                for one in series_days(mine, begin_us, end_us, {}):
                    like[device][one.register].append(like_day(one, spans[device]))
                for register, record in templates_of(mine).items():
                    templates[device].setdefault(register, record)
        return {device: (like[device], templates[device]) for device in self._own}

    def _of_shard(self, lo: int, hi: int) -> Iterator[tuple[Pseudonym, Sequence[StoredRecord]]]:
        for device, rows in self._rows.of_shard(self._name, lo, hi, self._prefix):
            if device in self._own:
                yield device, rows

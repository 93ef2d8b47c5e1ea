"""The forms in which gateways write SunSpec's models as JSON, brought to one.

SunSpec defines models, not how a device's values are written: its own tools write
`{"models":[{"ID":103,"W":…}]}`, others name the groups. Nothing is interpreted here.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bal.errors import Rejected
from bal.harmonise.der_json import Constant
from bal.harmonise.sunspec_table import COMMON, MODELS, NAMES, Model

TIMES = ("timestamp", "time", "ts")
_LISTS = ("models", "groups")
_POINTS = ("points", "fixed")
_DEVICE_MEMBERS = frozenset({*TIMES, *_LISTS, "device", "name", "did", "mid"})
_OF_MODEL = frozenset(
    {*TIMES, *_POINTS, "ID", "id", "L", "len", "Pad", "name", "label", "model", "type", "index"}
)
_NUMBER = re.compile(r"(?:model_)?([0-9]{1,5})")


class Sent(NamedTuple):
    """One model of a device."""

    number: int | None  # None where it is none that is known
    points: Mapping[str, Any]
    time: Any  # its own; None where it has none
    pointer: str  # RFC 6901

    def model(self) -> Model | None:
        """What stands in the table of it."""
        return None if self.number is None else MODELS.get(self.number)

    def unknown(self) -> int:
        """How many points the model has not got."""
        model = self.model()
        if model is None:
            return 0
        known = model.points.keys() | model.evidence | {model.group, f"{model.group}s"}
        return sum(name not in known and not name.endswith("_SF") for name in self.points)

    def group(self) -> list[Any]:
        """The instances of its repeating group."""
        model = self.model()
        if model is None or not model.group:
            return []
        found = self.points.get(model.group, self.points.get(f"{model.group}s"))
        return found if isinstance(found, list) else []

    def text(self, name: str) -> str:
        """A string of the common model, without the padding of its registers; "" for none."""
        value = self.points.get(name)
        if not isinstance(value, str) or isinstance(value, Constant):
            return ""
        return value.strip("\0 \t\r\n")


def models(device: Mapping[str, Any], pointer: str) -> list[Sent]:
    """The models of a device's object, in order. Raises Rejected: member-type, no-reading."""
    found: list[Sent] = []
    for name in _LISTS:
        inside = device.get(name)
        if isinstance(inside, list):
            several = [("", str(number), one) for number, one in enumerate(inside)]
        elif isinstance(inside, dict):
            several = [
                (key, _escaped(key, at), one) for at, (key, one) in enumerate(inside.items())
            ]
        elif inside is None:
            continue
        else:
            raise Rejected("member-type", "models is neither an array nor an object", field=name)
        found += [_sent(key, one, f"{pointer}/{name}/{at}") for key, at, one in several]
    if not found and ("ID" in device or any(name in device for name in _POINTS)):
        found.append(_sent("", device, pointer))
    for name, inside in device.items():
        if name in NAMES and isinstance(inside, dict):
            found.append(_sent(name, inside, f"{pointer}/{name}"))
    if not found:
        raise Rejected("no-reading", "no model of SunSpec in it", field="models")
    return found


def unknown(device: Mapping[str, Any]) -> int:
    """How many members of a device's object nothing is known of."""
    if "ID" in device:
        return 0  # a model by itself: its members are points
    return sum(name not in _DEVICE_MEMBERS and name not in NAMES for name in device)


def time_of(members: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and the value of its time; None where it has none."""
    name = next((one for one in TIMES if members.get(one) is not None), TIMES[0])
    return name, members.get(name)


def _sent(key: str, inside: Any, pointer: str) -> Sent:
    if not isinstance(inside, dict):
        return Sent(None, {}, None, pointer)
    points = {name: value for name, value in inside.items() if name not in _OF_MODEL}
    for name in _POINTS:
        nested = inside.get(name)
        if isinstance(nested, dict):
            points |= nested
        elif isinstance(nested, list):
            pairs = [one for one in nested if isinstance(one, dict)]
            points |= {
                str(one["name"]): one.get("value")
                for one in pairs
                if isinstance(one.get("name"), str)
            }
    ours = {name: value for name, value in points.items() if name not in _OF_MODEL}
    return Sent(_number(inside, key), ours, time_of(inside)[1], pointer)


def _number(inside: Mapping[str, Any], key: str) -> int | None:
    for said in (inside.get("ID"), inside.get("id"), inside.get("model"), inside.get("name"), key):
        if isinstance(said, str):  # a Number is one, too
            match = _NUMBER.fullmatch(said)
            number = int(match[1]) if match is not None else NAMES.get(said)
            if number is not None:
                return number
    return None


def _escaped(key: str, at: int) -> str:
    """The member in a JSON pointer; only names of SunSpec's own are quoted."""
    return key if key in NAMES or _NUMBER.fullmatch(key) is not None else str(at)


def serial(sent: list[Sent]) -> tuple[str, str]:
    """Manufacturer and serial number of the first common model; "" where there is none.

    Raises Rejected("meter-ambiguous") where another common model has another serial number.
    """
    commons = [one for one in sent if one.number == COMMON]
    several = {one.text("SN") for one in commons} - {""}
    if len(several) > 1:
        raise Rejected(
            "meter-ambiguous",
            "common models of several devices; each is an object of its own, in an array",
            field="models",
        )
    first = next((one for one in commons if one.text("SN")), None)
    return ("", "") if first is None else (first.text("Mn"), first.text("SN"))

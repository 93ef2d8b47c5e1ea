"""A telemetering centre: how its exports are to be read (`centre.toml`, docs/dso-server.md)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from bal.errors import Rejected, Stop
from field.dso_value import UNITS, register_of

FILE = "centre.toml"
FORMATS = ("csv", "json", "cim")
_KEYS = frozenset(
    {"name", "format", "files", "encoding", "delimiter", "decimal", "zone", "time_format",
     "stamps", "authority", "name_type", "items", "columns", "registers", "values", "qualities"}
)  # fmt: skip
_HOURS = ("%H", "%I", "%c", "%X", "%T", "%R", "%s")  # what strptime reads an hour by
_COLUMNS = frozenset({"meter", "time", "date", "register", "value", "quality"})


@dataclass(frozen=True, slots=True)
class Scale:
    """What a column, or a name in the register column, measures."""

    register: str  # multiplier 0
    shift: int  # the power of ten from the text to the register's base unit
    interval_s: int


@dataclass(frozen=True, slots=True)
class Centre:
    """One centre's mapping; see docs/dso-server.md for each key."""

    name: str
    format: str  # csv, json, cim
    folder: Path
    files: str = "*"  # glob of the exports in `folder`
    encoding: str = "utf-8"
    delimiter: str = ";"
    decimal: str = "."
    zone: ZoneInfo | None = None  # of times without an offset; None: they are refused
    time_format: str = ""  # strptime's; "" is ISO 8601
    stamps: str = "end"  # which end of an interval a time names: begin, end
    authority: str = ""
    name_type: str = ""
    items: str = ""  # JSON: the member that has the array; "" is the message itself
    columns: Mapping[str, str] = field(default_factory=dict)  # meter, time, … → header or member
    registers: Mapping[str, Scale] = field(default_factory=dict)  # by name in columns.register
    values: Mapping[str, Scale] = field(default_factory=dict)  # by header of a value column
    qualities: Mapping[str, str] = field(default_factory=dict)  # their word → IEC 61968-9 code


def load(folder: Path) -> Centre:
    """The centre of an export folder. Raises Stop("config-invalid") that names the key at fault."""
    path = folder / FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Stop("config-invalid", f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Stop("config-invalid", f"{path}: {error}") from error
    try:
        return _centre(folder, data)
    except (KeyError, ValueError, LookupError, OSError) as error:
        raise Stop("config-invalid", f"{path}: {error}") from error
    except Rejected as error:
        raise Stop("config-invalid", f"{path}: {error.text}") from error


def _centre(folder: Path, data: dict[str, Any]) -> Centre:
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        raise ValueError(f"there is no key {unknown[0]}")
    tables = {"columns", "registers", "values", "qualities"}
    for key, value in data.items():
        if not isinstance(value, dict if key in tables else str):
            raise ValueError(f"{key} is {'a table' if key in tables else 'a text'}")
    plain = {key: data[key] for key in data.keys() - tables - {"zone"}}
    if plain.get("format") not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}")
    plain.setdefault("name", folder.name)
    "".encode(plain.get("encoding", "utf-8"))
    if len(plain.get("delimiter", ";")) != 1 or plain.get("decimal", ".") not in {".", ","}:
        raise ValueError("delimiter is one character, decimal a point or a comma")
    if plain.get("stamps", "end") not in {"begin", "end"}:
        raise ValueError("stamps is begin or end")
    centre = Centre(
        folder=folder,
        zone=ZoneInfo(data["zone"]) if "zone" in data else None,
        columns=_texts(data, "columns"),
        registers={name: _scale(name, one) for name, one in data.get("registers", {}).items()},
        values={name: _scale(name, one) for name, one in data.get("values", {}).items()},
        qualities=_texts(data, "qualities"),
        **plain,
    )
    if centre.format != "cim":
        _check_columns(centre)
    return centre


def _check_columns(centre: Centre) -> None:
    named = set(centre.columns)
    if named - _COLUMNS or not {"meter", "time"} <= named:
        raise ValueError(f"columns are meter, time and some of {', '.join(sorted(_COLUMNS))}")
    if bool(centre.values) == bool(centre.registers):
        raise ValueError("either [values], a column a register, or [registers], a row a register")
    if centre.registers and not {"register", "value"} <= named:
        raise ValueError("[registers] needs columns.register and columns.value")
    has_hour = any(part in centre.time_format for part in _HOURS)
    if centre.time_format and not has_hour and centre.stamps == "end":
        raise ValueError("time_format is of a date alone: what it names is no end, stamps is begin")
    if "date" in named and not centre.time_format:
        raise ValueError("columns.date needs time_format, of both with a space between")


def _scale(name: str, one: Any) -> Scale:
    if not isinstance(one, dict) or set(one) != {"register", "unit"}:
        raise ValueError(f"{name!r} needs register and unit, and nothing else")
    if one["unit"] not in UNITS:
        raise ValueError(f"the unit of {name!r} is none of {', '.join(UNITS)}")
    code, power = UNITS[one["unit"]]
    register = register_of(str(one["register"]))
    if register.is_long:
        raise ValueError(f"the register of {name!r} has 19 fields instead of 18")
    if register.unit != code:
        raise ValueError(f"the register of {name!r} has another unit than {one['unit']}")
    return Scale(register.register, power, register.interval_s)


def _texts(data: dict[str, Any], key: str) -> dict[str, str]:
    texts = data.get(key, {})
    if any(not isinstance(text, str) for text in texts.values()):
        raise ValueError(f"the values of [{key}] are texts")
    return dict(texts)

"""Frames of IEEE C37.118.2 as bytes: commands of a concentrator, streams of a test's PMU."""

from collections.abc import Sequence
from struct import pack

from bal.c37118.config import (
    BITS,
    FIRST,
    LAST,
    NAME_SIZE,
    ONLY,
    Config,
    Pmu,
)
from bal.c37118.data import Data, Layout
from bal.c37118.frame import (
    CFG_3,
    COMMAND,
    DATA,
    HEADER,
    SIZE_MAX,
    SIZE_MIN,
    VERSION_2005,
    VERSION_2011,
    seal,
)


def command_frame(idcode: int, command: int, soc: int, *, extended: bytes = b"") -> bytes:
    """A command (IEEE C37.118.2 §6.6); FRACSEC is 0, since a command's TIME_BASE is nobody's."""
    return seal(COMMAND, idcode, soc, 0, pack(">H", command) + extended, version=VERSION_2005)


def header_frame(idcode: int, soc: int, text: str) -> bytes:
    """A header frame (IEEE C37.118.2 §6.5)."""
    return seal(HEADER, idcode, soc, 0, text.encode(), version=VERSION_2005)


def data_frame(layout: Layout, data: Data, *, version: int = VERSION_2005) -> bytes:
    """A data frame (IEEE C37.118.2 §6.3).

    Raises struct.error where a value does not fit its format.
    """
    fracsec = data.time_quality << 24 | data.fraction
    body = layout.pack(version, data)
    return seal(DATA, layout.config.idcode, data.soc, fracsec, body, version=version)


def config_frames(config: Config, *, size_max: int = SIZE_MAX) -> list[bytes]:
    """A configuration frame, or the fragments of a configuration 3 (IEEE C37.118.2 §6.4).

    size_max: bytes of a frame, at least 32.
    """
    pmu = _pmu_3 if config.kind == CFG_3 else _pmu_2
    body = pack(">IH", config.time_base, len(config.pmus))
    body += b"".join(map(pmu, config.pmus)) + pack(">h", config.rate)
    if config.kind != CFG_3:
        version = config.version
        return [seal(config.kind, config.idcode, config.soc, config.fracsec, body, version=version)]
    room = size_max - SIZE_MIN - 2
    pieces = [body[at : at + room] for at in range(0, len(body), room)]
    last = len(pieces) - 1
    return [
        seal(
            CFG_3,
            config.idcode,
            config.soc,
            config.fracsec,
            pack(">H", ONLY if not last else LAST if n == last else FIRST + n) + piece,
            version=max(config.version, VERSION_2011),
        )
        for n, piece in enumerate(pieces)
    ]


def _pmu_2(pmu: Pmu) -> bytes:
    made = [_name(pmu.station), pack(">H", pmu.idcode), _counts(pmu)]
    made += map(_name, _names(pmu))
    made += [pack(">I", one.is_current << 24 | one.factor) for one in pmu.phasors]
    made += [pack(">I", one.kind << 24 | one.factor & 0xFFFFFF) for one in pmu.analogs]
    made += [pack(">HH", one.normal, one.valid) for one in pmu.digitals]
    return b"".join(made) + pack(">HH", pmu.fnom, pmu.changes)


def _pmu_3(pmu: Pmu) -> bytes:
    made = [_name_3(pmu.station), pack(">H", pmu.idcode), pmu.global_id, _counts(pmu)]
    made += map(_name_3, _names(pmu))
    made += [
        pack(
            ">HBBff",
            one.modified,
            one.is_current << 3 | max(one.component, 0),
            one.user,
            one.scale,
            one.angle_rad,
        )
        for one in pmu.phasors
    ]
    made += [pack(">ff", one.scale, one.offset) for one in pmu.analogs]
    made += [pack(">HH", one.normal, one.valid) for one in pmu.digitals]
    place = pack(">fff", pmu.latitude_deg, pmu.longitude_deg, pmu.elevation_m)
    service = pack(">cii", pmu.service.encode("latin1"), pmu.window_us, pmu.delay_us)
    return b"".join(made) + place + service + pack(">HH", pmu.fnom, pmu.changes)


def _counts(pmu: Pmu) -> bytes:
    return pack(">HHHH", pmu.format, len(pmu.phasors), len(pmu.analogs), len(pmu.digitals))


def _names(pmu: Pmu) -> list[str]:
    names = [one.name for one in pmu.phasors] + [one.name for one in pmu.analogs]
    for one in pmu.digitals:
        names += _bits(one.names)
    return names


def _bits(names: Sequence[str]) -> list[str]:
    return [*names, *[""] * (BITS - len(names))]


def _name(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > NAME_SIZE:
        raise ValueError(f"a name of configuration 2 has at most {NAME_SIZE} bytes: {text}")
    return raw.ljust(NAME_SIZE)


def _name_3(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 0xFF:
        raise ValueError(f"a name of configuration 3 has at most 255 bytes: {text}")
    return bytes([len(raw)]) + raw

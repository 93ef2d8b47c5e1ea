"""Packets out of a capture: pcap and pcapng, with what IP, UDP and TCP carry in them.

Nothing but lengths is believed of what a file says; a packet that is cut or of another kind is
counted and passed over. TCP is put in order by its sequence numbers.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from struct import Struct, error, unpack_from
from typing import BinaryIO, NamedTuple

from bal.errors import Stop

PACKET_BYTES_MAX = 1 << 20  # a snapshot is 256 KiB at most
WAITING_BYTES_MAX = 1 << 20  # of one direction of a connection, behind a segment that is missing
FLOWS_MAX = 10_000

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_NULL, _ETHERNET, _RAW, _SLL, _SLL2 = 0, 1, 101, 113, 276
_RAWS = frozenset({12, 14, _RAW, 228, 229})
_VLANS = frozenset({0x8100, 0x88A8, 0x9100})
_IPV4, _IPV6, _TCP, _UDP = 0x0800, 0x86DD, 6, 17
_IPV4_HEADER = 20  # bytes, without options (RFC 791 §3.1)
_EXTENSIONS = frozenset({0, 43, 60})  # of IPv6, that have a length of their own


class Flow(NamedTuple):
    """One direction between two ends."""

    protocol: str  # tcp or udp
    source: str
    source_port: int
    target: str
    target_port: int

    def __str__(self) -> str:
        return (
            f"{self.protocol} {_end(self.source, self.source_port)}"
            f" → {_end(self.target, self.target_port)}"
        )


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- files ------------------------------------------------------------------------------------


def packets(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Link type and bytes of each packet. Raises Stop("capture-malformed")."""
    begin = file.read(4)
    if begin == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(file)
        return
    order = {b"\xa1\xb2\xc3\xd4": ">", b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">",
             b"\x4d\x3c\xb2\xa1": "<"}.get(begin)  # fmt: skip
    if order is None:
        what = "is compressed: unpack it first" if begin[:2] == b"\x1f\x8b" else "is none of them"
        raise Stop("capture-malformed", f"pcap and pcapng are read; this file {what}")
    head = _exactly(file, 20)
    [link] = unpack_from(f"{order}I", head, 16)
    record = Struct(f"{order}IIII")
    while raw := file.read(16):
        if len(raw) < 16:
            raise _cut()
        _, _, size, _ = record.unpack(raw)
        yield link & 0xFFFF, _packet(file, size)


def _pcapng(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Blocks of all sections; `file` stands behind the first four bytes."""
    order, links = "<", [0]
    raw: bytes = b"\x0a\x0d\x0d\x0a"
    while raw:
        if raw == b"\x0a\x0d\x0d\x0a":
            begin = _exactly(file, 8)
            order = "<" if begin[4:] == b"\x4d\x3c\x2b\x1a" else ">"
            [size] = unpack_from(f"{order}I", begin)
            _packet(file, size - 12 if size >= 16 else -1)
            links = []
        else:
            [kind] = unpack_from(f"{order}I", raw)
            [size] = unpack_from(f"{order}I", _exactly(file, 4))
            body = _packet(file, size - 8 if size >= 12 else -1)[:-4]
            try:
                if kind == _INTERFACE:
                    links.append(unpack_from(f"{order}H", body)[0])
                elif kind == _PACKET:
                    [number, _, _, length] = unpack_from(f"{order}IIII", body)
                    yield links[number], body[20 : 20 + length]
                elif kind == _OLD_PACKET:
                    [number, _, _, _, length] = unpack_from(f"{order}HHIII", body)
                    yield links[number], body[20 : 20 + length]
                elif kind == _SIMPLE:
                    [length] = unpack_from(f"{order}I", body)
                    yield links[0], body[4 : 4 + length]
            except (error, IndexError):
                raise Stop("capture-malformed", "a block of the capture is too short") from None
        raw = file.read(4)
        if 0 < len(raw) < 4:
            raise _cut()


def _packet(file: BinaryIO, size: int) -> bytes:
    if not 0 <= size <= PACKET_BYTES_MAX:
        raise Stop("capture-malformed", f"the capture is damaged: a packet of {size} bytes")
    return _exactly(file, size)


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise _cut()
    return found


def _cut() -> Stop:
    return Stop("capture-malformed", "the capture ends within a packet")


# --- packets ----------------------------------------------------------------------------------


class _Segment(NamedTuple):
    flow: Flow
    sequence: int  # of TCP; -1 of UDP
    starts: bool  # SYN
    data: bytes


def _segment(link: int, packet: bytes) -> _Segment | str:
    """What a packet carries; else why it carries nothing, in a few words."""
    try:
        found = _network(link, packet)
        if isinstance(found, str):
            return found
        kind, source, target, data = found
        if kind == _UDP:
            source_port, target_port, length = unpack_from(">HHH", data)
            if length < 8 or length > len(data):
                return "cut"
            return _Segment(
                Flow("udp", source, source_port, target, target_port), -1, False, data[8:length]
            )
        if kind == _TCP:
            source_port, target_port, sequence = unpack_from(">HHI", data)
            flow = Flow("tcp", source, source_port, target, target_port)
            start = (data[12] >> 4) * 4
            return _Segment(flow, sequence, bool(data[13] & 2), data[start:])
    except (error, IndexError):
        return "cut"
    return "neither UDP nor TCP"


def _network(link: int, packet: bytes) -> tuple[int, str, str, bytes] | str:
    """Protocol, addresses and content of an IP packet."""
    if link == _ETHERNET:
        at = 12
        [kind] = unpack_from(">H", packet, at)
        while kind in _VLANS:
            at += 4
            [kind] = unpack_from(">H", packet, at)
        data = packet[at + 2 :]
    elif link in {_SLL, _SLL2}:
        [kind] = unpack_from(">H", packet, 14 if link == _SLL else 0)
        data = packet[16 if link == _SLL else 20 :]
    elif link == _NULL or link in _RAWS:
        data = packet[4:] if link == _NULL else packet
        kind = _IPV4 if data[0] >> 4 == 4 else _IPV6
    else:
        return f"of link type {link}"
    if kind == _IPV4:
        return _ipv4(data)
    return _ipv6(data) if kind == _IPV6 else "no IP"


def _ipv4(data: bytes) -> tuple[int, str, str, bytes] | str:
    start = (data[0] & 15) * 4
    total, _, fragment = unpack_from(">HHH", data, 2)
    if max(total, start, _IPV4_HEADER) > len(data):
        return "cut"
    if start < _IPV4_HEADER or 0 < total < start:
        return "no IP"
    if fragment & 0x3FFF:  # more of it, or not its begin
        return "a fragment of IP"
    addresses = [str(ip_address(data[at : at + 4])) for at in (12, 16)]
    # a length of 0 is left by network cards that cut for the system (TCP segmentation offload)
    return data[9], addresses[0], addresses[1], data[start : total or len(data)]


def _ipv6(data: bytes) -> tuple[int, str, str, bytes] | str:
    [length] = unpack_from(">H", data, 4)
    kind, at = data[6], 40
    if 40 + length > len(data):
        return "cut"
    while kind in _EXTENSIONS:
        kind, at = data[at], at + 8 + 8 * data[at + 1]
    addresses = [str(ip_address(data[at : at + 16])) for at in (8, 24)]
    return kind, addresses[0], addresses[1], data[at : 40 + length]


# --- flows ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ordered:
    """One direction of a TCP connection."""

    next: int  # sequence number
    waiting: dict[int, bytes] = field(default_factory=dict)
    size: int = 0

    def add(self, sequence: int, data: bytes) -> list[bytes]:
        """What is in order now; b"" stands for bytes that the capture has not."""
        ahead = (sequence - self.next) & 0xFFFFFFFF
        if ahead >= 0x80000000:  # sent again: what of it is new
            known = 0x100000000 - ahead
            sequence, data = self.next, data[known:]
        if not data:
            return []
        if len(data) > len(self.waiting.get(sequence, b"")):
            self.size += len(data) - len(self.waiting.get(sequence, b""))
            self.waiting[sequence] = data
        found = self._ready()
        while self.size > WAITING_BYTES_MAX:
            found += self.skip()
        return found

    def skip(self) -> list[bytes]:
        """Go on behind what is missing; nothing where nothing waits."""
        if not self.waiting:
            return []
        self.next = min(self.waiting, key=lambda at: (at - self.next) & 0xFFFFFFFF)
        return [b"", *self._ready()]

    def _ready(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            data = self.waiting.pop(self.next, None)
            if data is not None:
                self.size -= len(data)
            else:
                data = self._overlapping()
            if data is None:
                return found
            self.next = (self.next + len(data)) & 0xFFFFFFFF
            found.append(data)

    def _overlapping(self) -> bytes | None:
        """The new part of a segment that begins before what is next and ends behind it."""
        for sequence in list(self.waiting):
            behind = (self.next - sequence) & 0xFFFFFFFF
            if behind < 0x80000000:
                data = self.waiting.pop(sequence)
                self.size -= min(behind, len(data))
                if behind < len(data):
                    self.size -= len(data) - behind
                    return data[behind:]
        return None


class Flows:
    """What each direction carried, in order; TCP's bytes as they come together."""

    def __init__(self) -> None:
        self.packets = 0
        self.passed_over: Counter[str] = Counter()  # packets, by why
        self.gaps: Counter[Flow] = Counter()  # stretches of TCP that the capture has not
        self._ordered: dict[Flow, _Ordered] = {}

    def read(self, file: BinaryIO) -> Iterator[tuple[Flow, bytes]]:
        """Datagrams, and stretches of TCP. Raises Stop("capture-malformed")."""
        for link, packet in packets(file):
            self.packets += 1
            found = _segment(link, packet)
            if isinstance(found, str):
                self.passed_over[found] += 1
            elif found.flow.protocol == "udp":
                yield found.flow, found.data
            else:
                yield from self._tcp(found)
        for flow, ordered in self._ordered.items():
            while more := ordered.skip():
                yield from self._told(flow, more)

    def _tcp(self, found: _Segment) -> Iterator[tuple[Flow, bytes]]:
        ordered = self._ordered.get(found.flow)
        sequence = found.sequence + found.starts
        if ordered is None or found.starts:
            if ordered is None and len(self._ordered) >= FLOWS_MAX:
                self.passed_over["of more connections than are followed"] += 1
                return
            if ordered is None or sequence != ordered.next:
                ordered = self._ordered[found.flow] = _Ordered(sequence & 0xFFFFFFFF)
        yield from self._told(found.flow, ordered.add(sequence & 0xFFFFFFFF, found.data))

    def _told(self, flow: Flow, pieces: list[bytes]) -> Iterator[tuple[Flow, bytes]]:
        for data in pieces:
            if data:
                yield flow, data
            else:
                self.gaps[flow] += 1

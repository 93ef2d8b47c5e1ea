"""Captures: what is in them is found, whatever TCP, tags and damage did to it."""

import io
import random
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bal.c37118.config import Config, read_config
from bal.c37118.splitter import split
from bal.c37118.writer import command_frame, config_frames
from bal.errors import Stop
from field.capture import Capture, read_capture
from field.capture_file import Flows, packets
from tests.c37118_streams import BEGIN_S, config, messages, pmu
from tests.pmu_server import frames_of

CONFIG = read_config(config_frames(config(pmu(7), pmu(8, 0))))
FRAMES = [*config_frames(CONFIG), *frames_of(CONFIG, 0, 60)]


def ethernet(data: bytes, kind: int = 0x0800, tags: int = 0) -> bytes:
    return bytes(12) + b"\x81\x00\x00\x05" * tags + pack(">H", kind) + data


def ipv4(protocol: int, data: bytes, source: str = "10.0.0.7") -> bytes:
    address = bytes(map(int, source.split(".")))
    head = pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 64, protocol, 0)
    return head + address + b"\x0a\0\0\x01" + data


def ipv6(protocol: int, data: bytes) -> bytes:
    return (
        pack(">IHBB", 6 << 28, 8 + len(data), 0, 64)
        + bytes(32)
        + bytes([protocol, 0] + [0] * 6)
        + data
    )


def udp(data: bytes) -> bytes:
    return pack(">HHHH", 4713, 5000, 8 + len(data), 0) + data


def tcp(sequence: int, data: bytes, flags: int = 0x10) -> bytes:
    return pack(">HHIIBBHHH", 4712, 5001, sequence & 0xFFFFFFFF, 0, 0x50, flags, 0, 0, 0) + data


def pcap(sent: list[bytes], link: int = 1, order: str = "<") -> bytes:
    made = pack(f"{order}IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link)
    return made + b"".join(pack(f"{order}IIII", 1, 2, len(one), len(one)) + one for one in sent)


def pcapng(sent: list[bytes], order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = pack(f"{order}I", 12 + len(body))
        return pack(f"{order}I", kind) + size + body + size

    made = block(0x0A0D0D0A, pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    made += block(1, pack(f"{order}HHI", 1, 0, 65_535)) + block(5, bytes(12))
    for number, one in enumerate(sent):
        head = pack(f"{order}IIIII", 0, 0, 0, len(one), len(one))
        made += block(6, head + one) if number % 2 else block(3, pack(f"{order}I", len(one)) + one)
    return made


def read(raw: bytes) -> Capture:
    return read_capture(io.BytesIO(raw))


def check(found: Capture, of: Config = CONFIG, data: int = 60) -> None:
    [stream] = found.streams
    assert (stream.source, stream.idcode) == ("10.0.0.7", 60)
    assert stream.config == of
    assert (stream.kinds[0], stream.lost, stream.again) == (data, 60 - data, 0)
    assert (stream.begin_us, stream.end_us) == (
        BEGIN_S * 1_000_000,
        BEGIN_S * 1_000_000 + 1_180_000,
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", [pcap, pcapng])
def test_udp(form: object, order: str) -> None:
    sent = [ethernet(ipv4(17, udp(raw)), tags=n % 3) for n, raw in enumerate(FRAMES)]
    found = read(form(sent, order=order))  # type: ignore[operator]
    check(found)
    assert not found.damage
    assert found.packets == 61


@pytest.mark.parametrize(
    ("link", "head"),
    [(101, b""), (0, bytes(4)), (113, bytes(14) + b"\x08\0"), (276, b"\x08\0" + bytes(18))],
)
def test_other_links(link: int, head: bytes) -> None:
    check(read(pcap([head + ipv4(17, udp(raw)) for raw in FRAMES], link)))


def test_ipv6() -> None:
    [stream] = read(pcap([ethernet(ipv6(17, udp(raw)), 0x86DD) for raw in FRAMES])).streams
    assert (stream.source, stream.kinds[0]) == ("::", 60)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32))
def test_tcp_in_any_order(first: int, seed: int) -> None:
    """Cut anywhere, sent again in other pieces, a little out of order, over the end of numbers."""
    rng = random.Random(seed)
    stream = b"".join(FRAMES)
    cuts = sorted(rng.sample(range(1, len(stream)), 40))
    pieces = [
        (at, stream[at : end + rng.choice([0, 0, 30])])
        for at, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]
    pieces += rng.sample(pieces, 10)
    at = 0
    while at < len(pieces) - 1:  # neighbours change places
        if rng.random() < 0.3:
            pieces[at], pieces[at + 1] = pieces[at + 1], pieces[at]
        at += 1
    sent = [ethernet(ipv4(6, tcp(first, b"", 2)))]
    sent += [ethernet(ipv4(6, tcp(first + 1 + at, data))) for at, data in pieces]
    found = read(pcap(sent))
    check(found)
    assert not found.damage
    assert not found.gaps


def test_tcp_with_a_gap() -> None:
    stream = b"".join(FRAMES)
    places = range(0, len(stream), 100)
    sent = [ethernet(ipv4(6, tcp(at, stream[at : at + 100]))) for at in places if at != 5_000]
    found = read(pcap(sent))
    [stream_] = found.streams
    assert list(found.gaps.values()) == [1]
    assert 58 <= stream_.kinds[0] <= 59
    assert stream_.lost == 60 - stream_.kinds[0]
    assert sum(map(len, found.damage.values())) == 1


def test_losses_damage_and_strangers_are_told() -> None:
    broken = FRAMES[9][:-1] + bytes([FRAMES[9][-1] ^ 1])
    sent = [ethernet(ipv4(17, udp(raw))) for raw in [*FRAMES[:9], broken, *FRAMES[12:], FRAMES[12]]]
    sent.append(ethernet(ipv4(17, udp(b"something else"), "10.0.0.9")))
    sent.append(ethernet(b"arp", 0x0806))
    sent.append(ethernet(ipv4(1, b"ping")))
    sent.append(ethernet(ipv4(17, udp(FRAMES[1])))[:-3])
    sent.append(ethernet(ipv4(17, udp(command_frame(60, 2, 1)), "10.0.0.1")))
    found = read(pcap(sent))
    commands, stream = found.streams
    assert dict(commands.kinds) == {4: 1}
    assert (stream.lost, stream.again) == (3, 1)
    assert [dict(counts) for counts in found.damage.values()] == [{"checksum-wrong": 1}]
    assert dict(found.passed_over) == {"no IP": 1, "neither UDP nor TCP": 1, "cut": 1}


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (ipv4(17, b"")[:12], "cut"),
        (b"\x47" + ipv4(17, b"")[1:], "cut"),  # options that are not there
        (b"\x44" + ipv4(17, bytes(20))[1:], "no IP"),
        (b"\x45\0\0\x13" + ipv4(17, bytes(20))[4:], "no IP"),
    ],
)
def test_an_ipv4_header_has_twenty_bytes_at_least(packet: bytes, said: str) -> None:
    """RFC 791 §3.1: an IHL of 5 is the least, and a total length has the header in it."""
    assert dict(read(pcap([ethernet(packet)])).passed_over) == {said: 1}


def test_messages_of_a_capture() -> None:
    """Those that a concentrator would have made; data before their configuration go by it."""
    wanted = list(messages(CONFIG, 0, 60, size=50))
    for order in (FRAMES, [*FRAMES[1:], FRAMES[0]]):
        found = read(pcap([ethernet(ipv4(17, udp(raw))) for raw in order]))
        [stream] = found.streams
        assert list(stream.messages()) == wanted
        assert stream.is_early == (order is not FRAMES)


def test_files_that_are_none() -> None:
    good = pcap([ethernet(ipv4(17, udp(raw))) for raw in FRAMES])
    for raw, text in (
        (b"", "none of them"),
        (b"PK\x03\x04....", "none of them"),
        (b"\x1f\x8b....", "compressed"),
        (good[:-5], "ends within a packet"),
        (good[:30], "ends within a packet"),
        (good[:32] + b"\xff\xff\xff\x7f" + good[36:], "damaged"),
    ):
        with pytest.raises(Stop, match=text) as raised:
            read(raw)
        assert raised.value.code == "capture-malformed"


@settings(max_examples=300)
@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    sent = [ethernet(ipv4(6, tcp(1, FRAMES[0]))), ethernet(ipv4(17, udp(FRAMES[1])))]
    raw = bytearray(data.draw(st.sampled_from([pcap(sent), pcapng(sent), pcapng(sent, ">")])))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        found = list(Flows().read(io.BytesIO(bytes(raw))))
    except Stop as stop:
        told = stop.code
    else:
        assert all(split(content) for _, content in found if content)
        read(bytes(raw))
        return
    assert told == "capture-malformed"


@given(st.binary(max_size=200), st.sampled_from([b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1", b""]))
def test_any_bytes(raw: bytes, begin: bytes) -> None:
    try:
        list(packets(io.BytesIO(begin + raw)))
    except Stop as stop:
        told = stop.code
    else:
        return
    assert told == "capture-malformed"


def test_the_published_captures(shared_data: Path) -> None:
    file = shared_data / "captures" / "c37118" / "C37.118_1PMU_UDP.pcap"
    commands, stream = read(file.read_bytes()).streams
    assert (commands.source, dict(commands.kinds)) == ("192.168.0.10", {4: 4})
    assert (stream.kinds[0], stream.kinds[3], stream.lost, stream.again) == (356, 1, 0, 0)
    assert stream.config is not None
    assert [one.station for one in stream.config.pmus] == ["PMU1"]
    sent = b"".join(b"".join(p.frame for p in split(raw)[1:]) for raw in stream.messages())
    assert sent == b"".join(frame for frame in stream.frames if frame[1] >> 4 == 0)

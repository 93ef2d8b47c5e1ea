"""What captures carry, for tests that compare with another decoder."""

from pathlib import Path
from struct import unpack


def payloads(file: Path) -> list[bytes]:
    """Of a pcap of UDP over IPv4 and Ethernet, little-endian: the data of each packet."""
    raw, at, found = file.read_bytes(), 24, []
    while at < len(raw):
        _, _, size, _ = unpack("<IIII", raw[at : at + 16])
        packet = raw[at + 16 : at + 16 + size]
        [length] = unpack(">H", packet[38:40])
        found.append(packet[42 : 34 + length])
        at += 16 + size
    return found

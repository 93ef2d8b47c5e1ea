"""What is squeezed comes back as it was, and damage is told (docs/spec/store.md)."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.squeezed import squeeze, unsqueezed

RECORD = b'{"type":"reading","value":"1500","register":"0.0.2.4.1.1.12"}'


@given(st.binary(max_size=4096))
def test_it_comes_back_as_it_was(data: bytes) -> None:
    assert unsqueezed(squeeze(data)) == data
    assert squeeze(memoryview(data)) == squeeze(data)


def test_length_and_checksum_stand_before_a_frame_of_zstandard() -> None:
    """RFC 8878 §3.1.1: its magic number is 0xFD2FB528, little-endian."""
    made = squeeze(RECORD * 40)
    assert made[:4] == (40 * len(RECORD)).to_bytes(4, "big")
    assert made[4:8] == checksum(made[:4] + made[8:])
    assert made[8:12] == bytes.fromhex("28b52ffd")
    assert len(made) < 4 * len(RECORD)


def test_each_altered_bit_is_told() -> None:
    made = squeeze(RECORD * 40)
    for at in range(8 * len(made)):
        altered = bytearray(made)
        altered[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match="squeezed bytes"):
            unsqueezed(bytes(altered))


@pytest.mark.parametrize("left", [0, 7, 8, -1])
def test_what_is_cut_off_is_told(left: int) -> None:
    with pytest.raises(ValueError, match="squeezed bytes"):
        unsqueezed(squeeze(RECORD)[:left])


def test_a_frame_that_is_none_is_told() -> None:
    frame = b"no frame of Zstandard"
    length = len(frame).to_bytes(4, "big")
    made = length + checksum(length + frame) + frame
    with pytest.raises(ValueError, match="squeezed bytes"):
        unsqueezed(made)


@pytest.mark.parametrize("length", [0, 10, (1 << 20) + 1, 1 << 29])
def test_a_frame_of_another_length_is_told(length: int) -> None:
    frame = squeeze(bytes(1 << 20))[8:]
    said = length.to_bytes(4, "big")
    with pytest.raises(ValueError, match="squeezed bytes"):
        unsqueezed(said + checksum(said + frame) + frame)


def checksum(data: bytes) -> bytes:
    return crc32(data).to_bytes(4, "big")

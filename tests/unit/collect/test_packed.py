"""What is packed is refused by its first bytes, in each format: nothing here ever unpacks."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile
import zlib

import pytest

from bal.collect.guard import guard
from bal.errors import Rejected
from bal.harmonise import FORMATS

INSIDE = b"<MeterReadings>" + b" " * (20 << 20)  # 1,000 times its packed size


def zipped() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("message.xml", INSIDE)
    return raw.getvalue()


PACKED = {
    "gzip": gzip.compress(INSIDE, 9), "zlib": zlib.compress(INSIDE, 9),
    "bzip2": bz2.compress(INSIDE), "xz": lzma.compress(INSIDE), "zip": zipped(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", PACKED)
def test_a_packed_message_costs_no_memory(form: str, packed: str) -> None:
    raw = PACKED[packed]
    assert len(raw) * 900 < len(INSIDE)
    tracemalloc.start()
    try:
        with pytest.raises(Rejected):
            guard(raw, form)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

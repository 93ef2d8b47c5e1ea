"""Damaged messages without coverage: what runs in CI, and where atheris has no wheel.

The same seed gives the same inputs. Half of the changes are of bytes, half of the tokens that texts
and frames are made of, so that many inputs pass the first check of a parser.
"""

import re
from collections.abc import Iterator, Sequence
from random import Random

SIZE_MAX = 16_384
_TOKEN = re.compile(rb"<[^<>]*>|\"[^\"]*\"|[0-9]+|[A-Za-z]+|[\x80-\xff]+|.", re.DOTALL)
_ODD = (
    b"", b"0", b"-1", b"-0", b"9" * 20, b"9" * 400, b"1e400", b"NaN", b"Infinity", b"null",
    b"true", b"\x00", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\x7f\xff",
    b"\xef\xbf\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"&#0;", b"&lt;", b"<!--", b"-->",
    b"<![CDATA[", b"]]>", b"<!DOCTYPE x [<!ENTITY e 'e'>]>", b"xmlns='x'", b"/>", b"</", b"{",
    b"}", b"[", b"]", b"[" * 100, b"{\"a\":" * 100, b",", b":", b"\"", b"\n", b"\r\n", b";",
    b"2026-03-29T02:30:00", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:60.999999999Z",
    b"2026-01-15T10:15:00+23:59", b" ", b"\xc2\xa0", b"\xd9\xa3", b"\xc2\xb2", "٣".encode(),
    b"1_000", b"+1", b"0x10", b"1.", b".5",
)  # fmt: skip


def inputs(corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """The corpus as it is, then one to six changes of one of it, without end."""
    random = Random(seed)
    yield from corpus
    cut = tokens(corpus)
    while True:
        number = random.randrange(len(corpus))
        if random.random() < 0.5:
            yield _bytes(random, corpus[number])[:SIZE_MAX]
        else:
            yield by_tokens(random, cut[number], cut)[:SIZE_MAX]


def tokens(corpus: Sequence[bytes]) -> list[list[bytes]]:
    """Each input cut where words, numbers and tags end."""
    return [_TOKEN.findall(one) for one in corpus]


def _bytes(random: Random, seed: bytes) -> bytes:
    raw = bytearray(seed)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(raw) + 1)
        kind = random.randrange(5)
        if kind == 0:
            raw[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 1 and at < len(raw):
            raw[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            del raw[at : at + random.randint(1, 16)]
        elif kind == 3:
            raw[at:at] = random.randbytes(random.randint(1, 4))
        else:
            raw[at : at + random.randint(0, 4)] = random.choice(_ODD)
    return bytes(raw)


def by_tokens(random: Random, seed: Sequence[bytes], others: Sequence[Sequence[bytes]]) -> bytes:
    """One to six changes of an input's tokens, some of them taken from others."""
    tokens, other = list(seed), others[random.randrange(len(others))]
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(tokens) + 1)
        kind = random.randrange(5)
        if kind == 0:
            tokens[at : at + 1] = [random.choice(_ODD)]
        elif kind == 1:
            del tokens[at : at + random.randint(1, 8)]
        elif kind == 2:  # a piece of it again
            begin = random.randrange(len(tokens) + 1)
            tokens[at:at] = tokens[begin : begin + random.randint(1, 40)]
        elif kind == 3 and other:  # a piece of another one
            begin = random.randrange(len(other))
            tokens[at : at + random.randint(0, 8)] = other[begin : begin + random.randint(1, 40)]
        elif tokens:
            end = random.randrange(len(tokens))
            at = min(at, len(tokens) - 1)
            tokens[at], tokens[end] = tokens[end], tokens[at]
    return b"".join(tokens)

"""The chain's endpoint as others may see it: providers put API keys into its URL."""

import re
from urllib.parse import urlsplit, urlunsplit

KEY_CHARACTERS_MIN = 20  # letters and digits of a path segment that is taken for a key
HIDDEN = "***"

_URL_IN_TEXT = re.compile(r"(\burl: )\S+")


def shown(url: str) -> str:
    """The URL without user name, password, query and fragment; `***` for what looks like a key."""
    parts = urlsplit(url)
    path = "/".join(HIDDEN if _is_key(piece) else piece for piece in parts.path.split("/"))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def names_a_key(url: str) -> bool:
    """Whether the path has what looks like a key, or had it before `shown` hid it."""
    return any(piece == HIDDEN or _is_key(piece) for piece in urlsplit(url).path.split("/"))


def without_urls(text: str) -> str:
    """An HTTP client's error without the URL that it quotes."""
    return _URL_IN_TEXT.sub(r"\1" + HIDDEN, text)


def _is_key(piece: str) -> bool:
    return sum(character.isalnum() for character in piece) >= KEY_CHARACTERS_MIN

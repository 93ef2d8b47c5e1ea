"""Addresses that are listened on: as the command line gives them, and as a URL names them."""

import os

from bal.errors import Stop


def address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises Stop("usage")."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise Stop("usage", f"{text} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def host_in_url(host: str) -> str:
    """A host that is listened on, as a URL names it."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - names nobody; the certificate has localhost
        return "localhost"
    return f"[{host}]" if ":" in host else host


def busy(address: tuple[str, int], error: OSError) -> Stop:
    """The error to raise where an address can't be listened on."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)  # asyncio adds more
    text = f"{address[0]}:{address[1]} can't be listened on: {reason}; name another port"
    return Stop("port", text)

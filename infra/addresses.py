"""Addresses that are listened on: as the command line gives them, and as a URL names them."""

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

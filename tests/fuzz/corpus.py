"""The inputs that a target begins with: seeds of ours, and each input that found a defect.

Files as they are; what is no text is written as hex, in a name that ends in `.hex`.
"""

import hashlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEDS, FOUND = HERE / "corpus", HERE / "found"


def read(folder: Path) -> list[bytes]:
    """All inputs of a folder, by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return [content(path) for path in sorted(folder.iterdir()) if path.is_file()]


def content(path: Path) -> bytes:
    """One input."""
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


def write(folder: Path, name: str, data: bytes) -> Path:
    """Keep an input, under its hash where it has no name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = name or hashlib.sha256(data).hexdigest()[:16]
    try:
        is_text = data.decode().replace("\n", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        is_text = False
    path = folder / (name if is_text else f"{name}.hex")
    if is_text:
        path.write_bytes(data)
    else:
        path.write_text("\n".join(data.hex()[at : at + 100] for at in range(0, 2 * len(data), 100)))
    return path

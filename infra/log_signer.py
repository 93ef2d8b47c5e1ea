"""The log's key, wherever it is kept."""

from pathlib import Path

from infra.config import SignerConfig
from infra.data_folder import DataFolder
from infra.key_signer import CheckpointSigner
from infra.signer_memory import GuardedSigner


def log_signer(at: SignerConfig, folder: DataFolder, origin: str) -> GuardedSigner:
    """The log's key, in a token or in a file, with its memory of what it signed."""
    memory = folder.keys / "log.signed"
    if not at.module:
        return CheckpointSigner(origin, folder.seed("log"), memory)
    from infra.pkcs11_signer import Pkcs11Signer  # noqa: PLC0415 - an extra

    token = Pkcs11Signer(
        origin,
        module=Path(at.module),
        token=at.token,
        label=at.label,
        pin_file=Path(at.pin_file),
    )
    return GuardedSigner(token, memory)

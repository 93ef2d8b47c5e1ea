"""Where a platform's log lines go: JSON on stderr, and to a file that is rotated by size."""

import argparse
import json
import logging
import os
import sys
import time
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from bal.errors import Stop

LEVELS = ("debug", "info", "warning", "error")
FILE_BYTES = 16 * 1024 * 1024
FILE_BYTES_MIN = 64 * 1024
FILES_KEPT = 5  # beside the one that is written
# Of these a line of every call would tell others what is asked of the chain, or drown the rest.
_NOISY = ("web3", "urllib3", "asyncio", "uvicorn", "eth", "httpx", "gmqtt")


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines and people."""

    def format(self, record: logging.LogRecord) -> str:
        """RFC 3339 time, level, logger, message."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _PrivateFile(RotatingFileHandler):
    """Every file of it is made 0600: a log names senders."""

    _told = False  # that lines are lost

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the class it extends
        """Say once on stderr that the file can't be written; every line stands there anyway."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            text = f"--log-file lacks lines from here on: {error.strerror}"
            told = logging.LogRecord("gridseal", logging.ERROR, "", 0, text, None, None)
            sys.stderr.write(self.format(told) + "\n")

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        file = open(  # noqa: SIM115 - as the class it extends; it closes it
            self.baseFilename, self.mode, encoding=self.encoding, opener=private
        )
        assert isinstance(file, TextIOWrapper)
        return file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a command that runs on."""
    parser.add_argument("--log-file", type=Path, metavar="FILE", help="log lines go there, too")
    parser.add_argument(
        "--log-file-bytes", type=int, default=FILE_BYTES, metavar="N",
        help=f"size at which FILE becomes FILE.1, and so on; {FILES_KEPT} are kept: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", choices=LEVELS, default="info", help="the least that is told: %(default)s"
    )


def begin(level: str, file: Path | None = None, file_bytes: int = FILE_BYTES) -> None:
    """Send log lines to stderr and to `file`. Raises Stop("usage") where that can't be written."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        if file_bytes < FILE_BYTES_MIN:
            raise Stop("usage", f"--log-file-bytes is at least {FILE_BYTES_MIN}")
        try:
            handlers.append(
                _PrivateFile(file, maxBytes=file_bytes, backupCount=FILES_KEPT, encoding="utf-8")
            )
        except OSError as error:
            text = f"--log-file {file} can't be written: {error.strerror}"
            raise Stop("usage", text) from error
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in handlers:
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)

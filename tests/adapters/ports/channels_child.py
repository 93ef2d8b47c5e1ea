"""Another process on the channels of a folder: `channels_child.py FOLDER WHAT …`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from channels_suite import serve  # noqa: E402

from infra.roles.ports import Channels  # noqa: E402


def channels_of(folder: Path) -> Channels:
    if (folder / "channels" / "raw.db").exists():
        from infra.roles.sqlite_channels import SqliteChannels

        return SqliteChannels.open(folder / "channels")
    from kafka_support import open_channels

    return open_channels(folder)


if __name__ == "__main__":
    serve(channels_of(Path(sys.argv[1])), sys.argv[2:])

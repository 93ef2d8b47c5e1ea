"""A container's health check: asks the status address of the role that runs beside it.

`python -m infra.deploy.probe [live|ready]`; 0 where the answer is 2xx. GRIDSEAL_STATUS is the
HOST:PORT that the role was given as `--status`.
"""

import http.client
import os
import sys

DEFAULT = "127.0.0.1:9464"
_TIMEOUT_S = 3


def main(arguments: list[str]) -> int:
    """0 if the role says that it lives, or is ready (the default)."""
    host, _, port = os.environ.get("GRIDSEAL_STATUS", DEFAULT).rpartition(":")
    what = arguments[0] if arguments else "ready"
    # Who listens on every address listens on this one, too.
    local = "127.0.0.1" if host in {"", "0.0.0.0"} else host.strip("[]")  # noqa: S104
    connection = http.client.HTTPConnection(local, int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"/health/{what}")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"probe: {local}:{port} does not answer: {error}\n")
        return 1
    finally:
        connection.close()
    return 0 if 200 <= status < 300 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

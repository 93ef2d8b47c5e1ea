"""What a platform pays that sends one transaction a reading: web3.py, signed locally, mined."""

import os
import tempfile
import time
from pathlib import Path

from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain


def main(count: int = 60) -> float:
    """Transactions a second, each waited for; one slot written in each, as a head does."""
    admin, anchorer = os.urandom(32), os.urandom(32)
    with tempfile.TemporaryDirectory() as name:
        chain = EmbeddedChain(Path(name) / "chain.db", [address_of(admin), address_of(anchorer)])
        contract = AnchorContract.deploy(chain.web3(), admin)
        logs = [os.urandom(32) for _ in range(count)]
        for log in logs:
            contract.open(log, address_of(anchorer), admin)
        started = time.perf_counter()
        for log in logs:
            contract.send_anchor(log, 1, os.urandom(32), [], anchorer)
        took = time.perf_counter() - started
        chain.close()
    return count / took


if __name__ == "__main__":
    print(main())

"""ethers and viem read the own chain through its face, and agree with what was written."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from infra.anchor_contract import AnchorContract, address_of
from infra.chain_embedded import EmbeddedChain
from tests.adapters.rpc_server import serving_rpc

CLIENTS = Path(__file__).parent / "clients"
ADMIN, ANCHORER = sha256(b"admin").digest(), sha256(b"anchorer").digest()
LOG, ROOT, BOOK = (sha256(name).digest() for name in (b"a log", b"a root", b"a book"))

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENTS / "node_modules").is_dir(),
    reason="no node, or no `npm ci --ignore-scripts --prefix tests/adapters/clients` yet",
)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[EmbeddedChain]:
    found = EmbeddedChain(tmp_path / "chain.db", [address_of(ADMIN), address_of(ANCHORER)])
    yield found
    found.close()


@pytest.fixture
def url(chain: EmbeddedChain) -> Iterator[str]:
    with serving_rpc(chain) as found:
        yield found


def test_ethers_and_viem_read_a_head_and_a_close(chain: EmbeddedChain, url: str) -> None:
    contract = AnchorContract.deploy(chain.web3(), ADMIN)
    contract.open(LOG, address_of(ANCHORER), ADMIN)
    mined = contract.send_anchor(LOG, 1 << 40, ROOT, [], ANCHORER)
    block = chain.request("eth_getBlockByNumber", [hex(mined.block)])
    closed = contract.send_close(LOG, 1, 1 << 40, BOOK, ANCHORER)
    time_s = int(chain.request("eth_getBlockByNumber", [hex(closed.block)])["timestamp"], 16)
    node = ["node", "audit.mjs", url, contract.address, "0x" + LOG.hex(), str(1 << 40)]
    done = subprocess.run(
        node, cwd=CLIENTS, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = {
        "chainId": chain.chain_id,
        "size": 1 << 40,
        "count": 1,
        "root": "0x" + ROOT.hex(),
        "eventSize": 1 << 40,
        "tx": mined.tx,
        "status": 1,
        "gas": mined.gas,
        "block": block["hash"],
        "inBlock": True,
        "refusal": "NotAnchorer",
        "finalized": closed.block,
        "code": len(chain.request("eth_getCode", [contract.address])),
        "closes": 1,
        "close": [1 << 40, time_s, "0x" + BOOK.hex()],
        "closed": [1, 1 << 40, "0x" + BOOK.hex()],
    }
    assert json.loads(done.stdout) == {"ethers": wanted, "viem": wanted}

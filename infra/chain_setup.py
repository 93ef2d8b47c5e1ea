"""Opens the chain that the configuration names, and the contract on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from eth_account import Account
from eth_utils.crypto import keccak
from web3 import Web3

from bal.errors import Stop
from infra.anchor_contract import AnchorContract
from infra.chain_embedded import EmbeddedChain
from infra.config import AnchorConfig
from infra.data_folder import DataFolder
from infra.files import make_private
from infra.rpc_face import RpcFace
from infra.rpc_provider import remote_web3

NO_FACE = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"this platform anchors on'
NO_FACE += b' another chain: ask its own endpoint"}}'

# Of the public chains, those that utilities use; test nets started by the operator are its own.
_KINDS = dict.fromkeys((1, 10, 100, 137, 246, 8453, 42161, 11155111), "public")
_KINDS |= dict.fromkeys((1337, 31337), "own")
# A node of one's own has no other that would give back what it forgets: Anvil, killed, loses what
# came in its last second (docs/servers.md). That is sent again, as behind a reorg.
OWN_NODE_DEPTH = 3


@dataclass(slots=True)
class OpenChain:
    """The chain in use."""

    contract: AnchorContract
    anchorer_key: bytes
    kind: str  # own, consortium, public
    depth: int  # blocks on top of a head's until the anchorer takes it for final
    rpc: Callable[[bytes], bytes]
    close: Callable[[], None]


def log_id(origin: str) -> bytes:
    """The log's name on chain: keccak256 of its origin."""
    return bytes(keccak(text=origin))


def open_chain(config: AnchorConfig, folder: DataFolder, origin: str, known: str) -> OpenChain:
    """Open the chain; on the platform's own, deploy the contract and open the log once.

    known: the contract's address from an earlier start, "" at the first. Raises Stop when a remote
    chain is named without its contract, or the contract does not know this log and anchorer.
    """
    if config.rpc_url:
        return _remote(config, folder, origin, known)
    admin, anchorer = folder.seed("admin"), _anchorer_key(config, folder)
    funded = [Account.from_key(key).address for key in (admin, anchorer)]
    make_private(folder.chain / "chain.db")
    chain = EmbeddedChain(folder.chain / "chain.db", funded)
    web3 = chain.web3()
    if known:
        contract = AnchorContract(web3, known)
    else:
        contract = AnchorContract.deploy(web3, admin)
        contract.open(log_id(origin), funded[1], admin)
    face = RpcFace(chain).handle
    return OpenChain(contract, anchorer, "own", config.depth, face, chain.close)


def _remote(config: AnchorConfig, folder: DataFolder, origin: str, known: str) -> OpenChain:
    if not config.contract and not config.deploy:
        text = (
            "anchor.rpc_url is set but anchor.contract is not: deploy CheckpointAnchor first, or"
            " set anchor.deploy where the platform's admin account has funds"
        )
        raise Stop("config-invalid", text)
    if config.contract and not Web3.is_address(config.contract):
        text = "anchor.contract is not an address: 0x and 40 hex digits, with a good checksum"
        raise Stop("config-invalid", text)
    if urlsplit(config.rpc_url).scheme not in {"http", "https"}:
        raise Stop("config-invalid", "anchor.rpc_url is not a URL that begins with http(s)://")
    web3, key = remote_web3(config.rpc_url), _anchorer_key(config, folder)
    address, limit_wei = config.contract or known, config.fee_max_gwei * 10**9 or None
    if address:
        contract = AnchorContract(web3, address, fee_max_wei=limit_wei)
    else:
        contract = AnchorContract.deploy(web3, folder.seed("admin"))
        contract.open(log_id(origin), Account.from_key(key).address, folder.seed("admin"))
    kind = _KINDS.get(contract.chain_id, "own" if config.deploy else "consortium")
    depth = config.depth or (OWN_NODE_DEPTH if kind == "own" else 0)
    return OpenChain(contract, key, kind, depth, lambda _: NO_FACE, lambda: None)


def _anchorer_key(config: AnchorConfig, folder: DataFolder) -> bytes:
    if not config.key_file:
        return folder.seed("anchorer")
    try:
        key = bytes.fromhex(Path(config.key_file).read_text().strip().removeprefix("0x"))
    except (OSError, ValueError) as error:
        raise Stop("config-invalid", f"anchor.key_file: {error}") from error
    if len(key) != 32:
        raise Stop("config-invalid", "anchor.key_file must hold 64 hex digits")
    return key

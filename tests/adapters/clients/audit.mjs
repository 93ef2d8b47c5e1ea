// What ethers and viem read of one anchored head and of close 1: node audit.mjs RPC CONTRACT LOG SIZE
// Prints one object per client with the same members; the test compares them.
import { Contract, JsonRpcProvider } from "ethers";
import { createPublicClient, getContract, http, parseAbi } from "viem";

const [rpc, address, log, sizeText] = process.argv.slice(2);
const size = BigInt(sizeText);
const abi = [
  "error NotAnchorer()",
  "event Anchored(bytes32 indexed log, uint64 size, bytes32 root)",
  "event Closed(bytes32 indexed log, uint64 indexed k, uint64 prefix, bytes32 root)",
  "function closes(bytes32 log) view returns (uint64)",
  "function closeAt(bytes32 log, uint64 k) view returns (uint64 prefix, uint64 time, bytes32 root)",
  "function latest(bytes32 log) view returns (uint64 size, uint64 time, uint64 count)",
  "function rootAt(bytes32 log, uint64 size) view returns (bytes32)",
  "function anchor(bytes32 log, uint64 size, bytes32 root, bytes32[] proof)",
];
const zero = "0x" + "00".repeat(32);

async function withEthers() {
  const provider = new JsonRpcProvider(rpc, undefined, { batchMaxCount: 10 });
  const contract = new Contract(address, abi, provider);
  const [latest, root] = await Promise.all([contract.latest(log), contract.rootAt(log, size)]);
  const [closes, close] = await Promise.all([contract.closes(log), contract.closeAt(log, 1)]);
  const [event] = await contract.queryFilter(contract.filters.Anchored(log), 0);
  const [closed] = await contract.queryFilter(contract.filters.Closed(log, 1), 0);
  const receipt = await provider.getTransactionReceipt(event.transactionHash);
  const transaction = await provider.getTransaction(event.transactionHash);
  const block = await provider.getBlock(receipt.blockNumber, true);
  const refusal = await contract.anchor.staticCall(log, size, zero, []).catch((error) => error);
  const found = {
    chainId: Number((await provider.getNetwork()).chainId),
    size: Number(latest.size),
    count: Number(latest.count),
    root,
    eventSize: Number(event.args.size),
    tx: transaction.hash,
    status: receipt.status,
    gas: Number(receipt.gasUsed),
    block: block.hash,
    inBlock: block.prefetchedTransactions[0].hash === transaction.hash,
    refusal: refusal.revert.name,
    finalized: (await provider.getBlock("finalized")).number,
    code: (await provider.getCode(address)).length,
    closes: Number(closes),
    close: [Number(close.prefix), Number(close.time), close.root],
    closed: [Number(closed.args.k), Number(closed.args.prefix), closed.args.root],
  };
  provider.destroy();
  return found;
}

async function withViem() {
  const client = createPublicClient({ transport: http(rpc, { batch: true }) });
  const contract = getContract({ address, abi: parseAbi(abi), client });
  const [latest, root] = await Promise.all([contract.read.latest([log]), contract.read.rootAt([log, size])]);
  const [closes, close] = await Promise.all([contract.read.closes([log]), contract.read.closeAt([log, 1n])]);
  const [event] = await contract.getEvents.Anchored({ log }, { fromBlock: 0n, strict: true });
  const [closed] = await contract.getEvents.Closed({ log, k: 1n }, { fromBlock: 0n, strict: true });
  const receipt = await client.getTransactionReceipt({ hash: event.transactionHash });
  const transaction = await client.getTransaction({ hash: event.transactionHash });
  const block = await client.getBlock({ blockNumber: receipt.blockNumber, includeTransactions: true });
  const refusal = await contract.simulate.anchor([log, size, zero, []]).catch((error) => error);
  return {
    chainId: await client.getChainId(),
    size: Number(latest[0]),
    count: Number(latest[2]),
    root,
    eventSize: Number(event.args.size),
    tx: transaction.hash,
    status: receipt.status === "success" ? 1 : 0,
    gas: Number(receipt.gasUsed),
    block: block.hash,
    inBlock: block.transactions[0].hash === transaction.hash,
    refusal: refusal.walk((error) => error.data?.errorName).data.errorName,
    finalized: Number((await client.getBlock({ blockTag: "finalized" })).number),
    code: (await client.getCode({ address })).length,
    closes: Number(closes),
    close: [Number(close[0]), Number(close[1]), close[2]],
    closed: [Number(closed.args.k), Number(closed.args.prefix), closed.args.root],
  };
}

process.stdout.write(JSON.stringify({ ethers: await withEthers(), viem: await withViem() }));

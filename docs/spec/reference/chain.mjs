// What a chain says about a claim: docs/spec/receipt.md steps 6 and 7, completeness.md step 9. The only code that asks anybody.

import { bigEndian, concat, equal, fail, hex, keccak256, SIZE_MAX, unhex, unsigned, utf8, Failure } from "./bytes.mjs";
import { checkInclusion, Tiles } from "./tree.mjs";

const ANSWER_MAX = 1024 * 1024;
const PATIENCE_MS = 30_000;
const REDIRECTS_MAX = 5;
const SELECTORS = { rootAt: "0x930b6ace", latest: "0x79feb107", closeAt: "0xb0aed7ea", closes: "0x71c553fd" };
const ZERO = new Uint8Array(32);

/** Bytes that a URL answers with; a redirect is followed on the same host only. */
const fetched = async (url, options = {}) => {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  let answer;
  for (let hops = 0, at = url; ; hops++) {
    answer = await fetch(at, { ...options, redirect: "manual", signal });
    if (answer.status < 300 || answer.status > 399) break;
    const next = new URL(answer.headers.get("location") ?? "", at);
    if (hops === REDIRECTS_MAX || next.origin !== new URL(url).origin) throw new Error("redirected elsewhere");
    at = next.href;
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const parts = [];
  let length = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > ANSWER_MAX) throw new Error("an answer of more than 1 MiB");
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
};

const requestOf = async (url, method, params) => {
  let answer;
  try {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const bytes = await fetched(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    answer = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    fail("rpc-unreachable", `${url}: ${error.message}`);
  }
  const said = typeof answer === "object" ? answer?.error : undefined;
  if (method === "eth_call" && (said?.code === 3 || /revert/i.test(said?.message ?? ""))) return "0x"; // a log that it does not know
  if (said || answer?.result === undefined) fail("rpc-unreachable", `${url} gives no answer to ${method}`);
  return answer.result;
};

const quantity = (given) => (/^0x(0|[1-9a-f][0-9a-f]{0,15})$/.test(given) ? BigInt(given) : fail("rpc-unreachable", "an answer that is no number"));
const data = (given, size) => {
  const bytes = typeof given === "string" && given.startsWith("0x") ? unhex(given.slice(2).toLowerCase(), (given.length - 2) / 2) : null;
  return bytes && (size === undefined || bytes.length === size) ? bytes : fail("rpc-unreachable", "an answer of another form");
};

/** All endpoints of a policy, at one block; what they say must be the same. */
class Endpoints {
  constructor(urls) {
    this.urls = urls;
  }

  async same(method, params, read) {
    const said = await Promise.all(this.urls.map(async (url) => read(await requestOf(url, method, params))));
    const texts = said.map((one) => (one instanceof Uint8Array ? hex(one) : String(one)));
    if (texts.some((one) => one !== texts[0])) fail("rpc-endpoints-differ", `the endpoints answer ${method} differently`);
    return said[0];
  }

  /** The block that counts, hex; null where none is deep enough yet. */
  async blockOf(depth) {
    const number = async (url) => {
      if (depth === "finalized") {
        const block = await requestOf(url, "eth_getBlockByNumber", ["finalized", false]);
        return block === null ? null : quantity(block.number);
      }
      const latest = quantity(await requestOf(url, "eth_blockNumber", []));
      return latest < depth ? null : latest - depth;
    };
    const numbers = await Promise.all(this.urls.map(number));
    if (numbers.includes(null)) return null;
    const lowest = numbers.reduce((one, other) => (one < other ? one : other));
    const block = `0x${lowest.toString(16)}`;
    const hashOf = (found) => (found === null ? fail("rpc-unreachable", "an endpoint lacks the block") : data(found.hash, 32));
    await this.same("eth_getBlockByNumber", [block, false], hashOf);
    return block;
  }
}

/** A chain at the block that counts, with the contracts of the policy as they must be. */
export class Chain {
  constructor(endpoints, id, block, contracts, log) {
    Object.assign(this, { endpoints, id, block, contracts, log });
  }

  static async open(policy, origin) {
    if (!policy.rpc.length) fail("rpc-unreachable", "no endpoint is given");
    const endpoints = new Endpoints(policy.rpc);
    const id = await endpoints.same("eth_chainId", [], quantity);
    if (policy.chain.id !== null && id !== policy.chain.id) fail("chain-id-differs", `the endpoint's chain is ${id}, not ${policy.chain.id}`);
    const block = await endpoints.blockOf(policy.depth);
    if (block === null) return null;
    const contracts = [];
    for (const { address, hash } of policy.contracts) {
      const codeAt = (when) => endpoints.same("eth_getCode", [address, when], (given) => data(given));
      const code = await codeAt(block);
      if (!code.length && (await codeAt("latest")).length) continue; // deployed after the block that counts
      if (!code.length || (hash && !equal(keccak256(code), hash))) fail("contract-code-differs", `no contract at ${address}, or another`);
      contracts.push(address);
    }
    return new Chain(endpoints, id, block, contracts, keccak256(utf8(origin)));
  }

  async call(contract, name, number, words) {
    const argument = number === null ? "" : hex(bigEndian(number, 32));
    const call = { to: contract, data: `${SELECTORS[name]}${hex(this.log)}${argument}` };
    const padded = (given) => concat(data(given), new Uint8Array(32 * words)).slice(0, 32 * words);
    return this.endpoints.same("eth_call", [call, this.block], padded);
  }

  rootAt(contract, size) {
    return this.call(contract, "rootAt", size, 1);
  }

  async latest(contract) {
    return unsigned((await this.call(contract, "latest", null, 3)).slice(0, 32));
  }

  async closeAt(contract, k) {
    const words = await this.call(contract, "closeAt", k, 3);
    return { prefix: unsigned(words.slice(0, 32)), root: words.slice(64) };
  }

  async closes(contract) {
    return unsigned(await this.call(contract, "closes", null, 1));
  }

  who() {
    return `chain ${this.id}, block ${BigInt(this.block)}, says ${this.endpoints.urls.join(", ")}`;
  }

  evidence(contract, found) {
    return { chain_id: String(this.id), contract, log: `0x${hex(this.log)}`, block: String(BigInt(this.block)), ...found };
  }
}

const fork = (text, checkpoint, evidence) => {
  const whole = `${checkpoint.text}\n${checkpoint.lines.map((line) => line.raw).join("")}`;
  throw Object.assign(new Failure("anchor-root-differs", text), { evidence: { checkpoint: whole, ...evidence } });
};

/** The tile's path below a log's URL: c2sp.org/tlog-tiles. */
export const tilePath = (level, n, width) => {
  const groups = [String(n % 1000n).padStart(3, "0")];
  for (let rest = n / 1000n; rest > 0n; rest /= 1000n) groups.unshift(`x${String(rest % 1000n).padStart(3, "0")}`);
  return `tile/${level}/${groups.join("/")}${width < 256 ? `.p/${width}` : ""}`;
};

const tilesOf = (url, size) =>
  new Tiles(size, async (level, n, width) => {
    try {
      const path = `${url.replace(/\/+$/, "")}/${tilePath(level, n, 256)}`;
      const partial = width < 256 ? await fetched(`${path}.p/${width}`).catch(() => null) : null;
      return partial ?? (await fetched(path)).slice(0, 32 * width); // c2sp.org/tlog-tiles: a full one may have replaced it
    } catch (error) {
      return fail("log-unreachable", `${url}: ${error.message}`);
    }
  });

/** Step 7: the claim's entry is in the larger tree that the chain has. */
const bringUp = async (chain, contract, larger, claim, logUrl) => {
  if (!logUrl) fail("log-needed", `the chain has a head of ${larger}: to bring the receipt up, give the log's URL`);
  const tiles = tilesOf(logUrl, larger);
  const { checkpoint } = claim;
  const root = await chain.rootAt(contract, larger);
  if (!equal(await tiles.range(0n, larger), root)) fail("tiles-mismatch", "the log's tiles do not lead to the root on chain");
  if (!equal(await tiles.range(0n, checkpoint.size), checkpoint.root)) {
    const ranges = (await tiles.ranges(checkpoint.size)).map(({ from, to, hash }) => ({ from: String(from), to: String(to), hash: hex(hash) }));
    const found = { size: String(larger), root: hex(root), ranges };
    fork(`the chain's head of ${larger} does not continue the signed one`, checkpoint, chain.evidence(contract, found));
  }
  try {
    await checkInclusion(claim.leaf, claim.index, larger, await tiles.path(claim.index), root);
  } catch (error) {
    fail("tiles-mismatch", error.message);
  }
  return `anchored: head of ${larger}, brought up; ${chain.who()}`;
};

const notYet = (policy, claim, { nowS, mtimeS }) => {
  const known = [mtimeS, ...claim.times].filter((one) => one !== null && one !== undefined);
  const earliest = known.reduce((one, other) => (one < other ? one : other), nowS);
  if (policy.anchorWithin !== null && nowS - earliest > policy.anchorWithin) {
    fail("anchor-overdue", `not on chain after ${nowS - earliest} s; promised within ${policy.anchorWithin} s`);
  }
  fail("not-anchored-yet", "no head on chain, deep enough, covers the receipt");
};

/** Steps 6 and 7 for a claim; the words of the verdict *anchored*. Fails with its code. */
export const anchored = async (chain, policy, claim, given) => {
  if (!chain) return notYet(policy, claim, given);
  const { checkpoint } = claim;
  for (const contract of chain.contracts) {
    const root = await chain.rootAt(contract, checkpoint.size);
    if (equal(root, checkpoint.root)) return `anchored: head of ${checkpoint.size}; ${chain.who()}`;
    if (!equal(root, ZERO)) {
      const found = { size: String(checkpoint.size), root: hex(root), ranges: [] };
      fork("the chain has another root at this size: a fork", checkpoint, chain.evidence(contract, found));
    }
  }
  for (const contract of chain.contracts) {
    const larger = await chain.latest(contract);
    if (larger <= checkpoint.size || larger > SIZE_MAX || equal(await chain.rootAt(contract, larger), ZERO)) continue; // a parent's head
    return bringUp(chain, contract, larger, claim, given.logUrl);
  }
  return notYet(policy, claim, given);
};

/** Step 9 for a close; what the verdict *complete* says about the chain. Fails with its code. */
export const closed = async (chain, close) => {
  const missing = () => fail("close-not-on-chain", `no contract of the policy has close ${close.k}, deep enough`);
  if (!chain) missing();
  let newest = 0n;
  for (const contract of chain.contracts) {
    const closes = await chain.closes(contract);
    const { prefix, root } = await chain.closeAt(contract, close.k);
    if (closes > newest) newest = closes;
    if (equal(root, ZERO) || closes < close.k) continue;
    if (!equal(root, close.book) || prefix !== close.prefix) {
      const evidence = chain.evidence(contract, { k: String(close.k), prefix: String(prefix), root: hex(root) });
      throw Object.assign(new Failure("close-differs", `the chain has another close ${close.k}: a fork`), { evidence });
    }
    return `${newest > close.k ? `; a newer close exists: ${newest}` : ""}; ${chain.who()}`;
  }
  return missing();
};

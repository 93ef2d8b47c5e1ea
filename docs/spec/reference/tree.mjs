// The log's tree (RFC 6962, SHA-256), its tiles, and the sparse tree of the book.

import { equal, fail, sha256, unhex } from "./bytes.mjs";

export const PATH_MAX = 63;
const [LEAF, NODE, COMMITMENT, BOOK_LEAF, BOOK_NODE] = [0, 1, 2, 4, 5].map((byte) => Uint8Array.of(byte));
const TILE_HEIGHT = 8n;

export const leafHash = (entry) => sha256(LEAF, entry);
export const nodeHash = (left, right) => sha256(NODE, left, right);

/** The log entry for data of a type (docs/spec/commitment.md). */
export const commitment = (type, salt, data) => sha256(COMMITMENT, Uint8Array.of(type), salt, data);

const bitLength = (number) => (number === 0n ? 0 : number.toString(2).length);
const ones = (number) => [...number.toString(2)].filter((bit) => bit === "1").length;

/** Checks that `path` leads from the leaf at `index` to the root of `size` leaves. */
export const checkInclusion = async (leaf, index, size, path, root) => {
  if (index >= size) fail("index-outside", `index ${index} is not below the size ${size}`);
  const inner = bitLength(index ^ (size - 1n));
  const length = inner + ones(index >> BigInt(inner));
  if (path.length !== length) fail("path-wrong-length", `the path has ${path.length} hashes, not ${length}`);
  let node = leaf;
  for (const [j, hash] of path.entries()) {
    const right = j >= inner || (index >> BigInt(j)) & 1n;
    node = right ? await nodeHash(hash, node) : await nodeHash(node, hash);
  }
  if (!equal(node, root)) fail("root-mismatch", "the path does not lead to the signed root");
};

// RFC 6962 §2.1: a range splits at the largest power of two below its length.
const split = (length) => 1n << BigInt(bitLength(length - 1n) - 1);

const isPerfect = (length) => (length & (length - 1n)) === 0n;

/** The hashes of a log from the tiles of its tree of `size`; `fetchTile(level, n, width)` gives their bytes. */
export class Tiles {
  constructor(size, fetchTile) {
    this.size = size;
    this.fetchTile = fetchTile;
    this.known = new Map();
  }

  async tile(level, n) {
    const name = `${level}/${n}`;
    if (!this.known.has(name)) {
      const left = (this.size >> (TILE_HEIGHT * level)) - (n << TILE_HEIGHT);
      const width = left < 256n ? Number(left) : 256;
      const bytes = await this.fetchTile(level, n, width);
      if (bytes.length !== 32 * width) fail("tiles-mismatch", `tile ${name} has ${bytes.length} bytes, not ${32 * width}`);
      this.known.set(name, bytes);
    }
    return this.known.get(name);
  }

  /** Root of the perfect subtree number n of 2^height entries. */
  async node(height, n) {
    const level = height / TILE_HEIGHT;
    const first = n << (height % TILE_HEIGHT);
    const bytes = await this.tile(level, first >> TILE_HEIGHT);
    const at = Number(first & 255n);
    let row = [];
    for (let j = at; j < at + (1 << Number(height % TILE_HEIGHT)); j++) row.push(bytes.slice(32 * j, 32 * j + 32));
    while (row.length > 1) {
      const pairs = row.filter((_, j) => j % 2 === 0).map((left, j) => nodeHash(left, row[2 * j + 1]));
      row = await Promise.all(pairs);
    }
    return row[0];
  }

  /** Root over the entries [from, to), which begin where a tree of that length splits. */
  async range(from, to) {
    const length = to - from;
    if (isPerfect(length)) {
      const height = BigInt(bitLength(length) - 1);
      return this.node(height, from >> height);
    }
    const middle = from + split(length);
    return nodeHash(await this.range(from, middle), await this.range(middle, to));
  }

  /** The path of the entry at `index`, the leaf's own sibling first. */
  async path(index) {
    const found = [];
    let [from, to] = [0n, this.size];
    while (to - from > 1n) {
      const middle = from + split(to - from);
      const left = index < middle;
      found.push(await (left ? this.range(middle, to) : this.range(from, middle)));
      if (left) to = middle;
      else from = middle;
    }
    return found.reverse();
  }

  /** [{from, to, hash}] that fold to the root of `size` leaves, some of them to that of `smaller`. */
  async ranges(smaller) {
    const found = [];
    const add = async (from, to) => {
      if (to <= smaller || from >= smaller) found.push({ from, to, hash: await this.range(from, to) });
      else {
        const middle = from + split(to - from);
        await add(from, middle);
        await add(middle, to);
      }
    };
    await add(0n, this.size);
    return found;
  }
}

const bit = (key, at) => (key[at >> 3] >> (7 - (at & 7))) & 1;

/** {siblings, terminal} of a book proof's JSON, or null. */
export const parseBookProof = (given) => {
  if (!(given instanceof Map) || ![...given.keys()].every((name) => name === "siblings" || name === "terminal")) return null;
  const siblings = given.get("siblings");
  if (!Array.isArray(siblings) || siblings.length > 256) return null;
  const hashes = siblings.map((one) => unhex(one, 32));
  if (hashes.includes(null)) return null;
  if (!given.has("terminal")) return { siblings: hashes, terminal: null };
  const terminal = given.get("terminal");
  if (!(terminal instanceof Map) || terminal.size !== 2) return null;
  const [key, value] = [unhex(terminal.get("key"), 32), unhex(terminal.get("value"), 32)];
  return key && value ? { siblings: hashes, terminal: { key, value } } : null;
};

/** The value that the proof shows at `key` under `root`, null where it shows that there is none. Fails with book-mismatch. */
export const proved = async (proof, key, root) => {
  const { siblings, terminal } = proof;
  let node = terminal ? await sha256(BOOK_LEAF, terminal.key, terminal.value) : new Uint8Array(32);
  for (let at = siblings.length - 1; at >= 0; at--) {
    const pair = bit(key, at) ? [siblings[at], node] : [node, siblings[at]];
    node = await sha256(BOOK_NODE, ...pair);
  }
  if (!equal(node, root)) fail("book-mismatch", "a proof does not lead to the book's root");
  if (!terminal) return null;
  if (equal(terminal.key, key)) return terminal.value;
  for (let at = 0; at < siblings.length; at++) {
    if (bit(key, at) !== bit(terminal.key, at)) fail("book-mismatch", "a proof ends at a key of another place");
  }
  return null;
};

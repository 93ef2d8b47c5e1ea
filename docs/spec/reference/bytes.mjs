// Bytes, hashes and signatures. WebCrypto does SHA-256 and Ed25519; it has no keccak-256, so that stands here.

const { subtle } = globalThis.crypto?.subtle ? globalThis.crypto : (await import("node:crypto")).webcrypto;

/** What ends a verification: a code of docs/spec/receipt.md or completeness.md, and words for a person. */
export class Failure extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

export const fail = (code, text) => {
  throw new Failure(code, text);
};

export const utf8 = (text) => new TextEncoder().encode(text);

/** Text of bytes that are UTF-8; a byte order mark stays. Throws TypeError. */
export const text = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

export const concat = (...parts) => {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
};

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Bytes of lower-case hex of `size` bytes, or null. */
export const unhex = (given, size) => {
  if (typeof given !== "string" || given.length !== 2 * size || !/^[0-9a-f]*$/.test(given)) return null;
  return Uint8Array.from(given.match(/../g) ?? [], (pair) => parseInt(pair, 16));
};

export const base64 = (bytes) => {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
};

/** Bytes of base64 that is written the one way of RFC 4648 §4, or null; of `size` bytes where it is given. */
export const unbase64 = (given, size) => {
  if (typeof given !== "string" || given.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(given)) return null;
  const bytes = Uint8Array.from(atob(given), (one) => one.charCodeAt(0));
  if (base64(bytes) !== given) return null; // bits that are left over are zero
  return size === undefined || bytes.length === size ? bytes : null;
};

/** The 32 bytes of a pseudonym, 43 characters base64url without padding, or null. */
export const unpseudonym = (given) => {
  if (typeof given !== "string" || !/^[A-Za-z0-9_-]{43}$/.test(given)) return null;
  return unbase64(given.replace(/-/g, "+").replace(/_/g, "/") + "=", 32);
};

export const bigEndian = (number, size) => {
  const bytes = new Uint8Array(size);
  for (let at = size - 1, rest = BigInt(number); at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 255n);
  return bytes;
};

export const unsigned = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

export const equal = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

export const SIZE_MAX = 2n ** 63n - 1n;

/** The number of a decimal without sign and leading zeros, at most `max`, as a BigInt; or null. */
export const decimal = (given, max = SIZE_MAX) => {
  if (typeof given !== "string" || given.length > 20 || !/^(0|[1-9][0-9]*)$/.test(given)) return null;
  const number = BigInt(given);
  return number <= max ? number : null;
};

export const sha256 = async (...parts) => new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));

export const hmacSha256 = async (key, message) => {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const imported = await subtle.importKey("raw", key, algorithm, false, ["sign"]);
  return new Uint8Array(await subtle.sign(algorithm, imported, message));
};

export const ed25519 = async (key, signature, message) => {
  if (signature.length !== 64) return false;
  const algorithm = { name: "Ed25519" };
  try {
    const imported = await subtle.importKey("raw", key, algorithm, false, ["verify"]);
    return await subtle.verify(algorithm, imported, signature, message);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new Error("this platform's WebCrypto has no Ed25519");
    return false; // a key that is no point of the curve signs nothing
  }
};

/** Whether ML-DSA-44 holds; null where this platform's WebCrypto does not have it, as most in 2026. */
export const mlDsa44 = async (key, signature, message) => {
  const algorithm = { name: "ML-DSA-44" };
  let imported;
  try {
    imported = await subtle.importKey("raw-public", key, algorithm, false, ["verify"]);
  } catch {
    return null;
  }
  return subtle.verify(algorithm, imported, signature, message);
};

// Keccak-f[1600], FIPS 202 §3.2, with the padding 01 of Keccak's authors, as Ethereum has it.
const ROTATIONS = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];
const LANES = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];
const MASK = (1n << 64n) - 1n;
const turn = (lane, by) => ((lane << BigInt(by)) | (lane >> BigInt(64 - by))) & MASK;

const roundConstants = () => {
  const found = [];
  let bits = 1;
  for (let round = 0; round < 24; round++) {
    let constant = 0n;
    for (let j = 0; j < 7; j++) {
      if (bits & 1) constant |= 1n << BigInt((1 << j) - 1);
      bits = bits & 0x80 ? (bits << 1) ^ 0x171 : bits << 1;
    }
    found.push(constant);
  }
  return found;
};
const CONSTANTS = roundConstants();

const permute = (state) => {
  for (const constant of CONSTANTS) {
    const columns = [0, 1, 2, 3, 4].map((x) => state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]);
    for (let at = 0; at < 25; at++) state[at] ^= columns[(at + 4) % 5] ^ turn(columns[(at + 1) % 5], 1);
    for (let moved = state[1], step = 0; step < 24; step++) {
      [state[LANES[step]], moved] = [turn(moved, ROTATIONS[step]), state[LANES[step]]];
    }
    for (let row = 0; row < 25; row += 5) {
      const old = state.slice(row, row + 5);
      for (let x = 0; x < 5; x++) state[row + x] = old[x] ^ (~old[(x + 1) % 5] & MASK & old[(x + 2) % 5]);
    }
    state[0] ^= constant;
  }
};

export const keccak256 = (bytes) => {
  const rate = 136;
  const padded = new Uint8Array(Math.ceil((bytes.length + 1) / rate) * rate);
  padded.set(bytes);
  padded[bytes.length] |= 0x01;
  padded[padded.length - 1] |= 0x80;
  const state = new Array(25).fill(0n);
  for (let block = 0; block < padded.length; block += rate) {
    for (let lane = 0; lane < rate / 8; lane++) {
      state[lane] ^= unsigned(padded.slice(block + 8 * lane, block + 8 * lane + 8).reverse());
    }
    permute(state);
  }
  return concat(...state.slice(0, 4).map((lane) => bigEndian(lane, 8).reverse()));
};

// Whom a verifier trusts: docs/spec/policy.md, a C2SP tlog-policy with lines of our own.

import { decimal, fail, hex, unhex, utf8 } from "./bytes.mjs";
import { COSIGNATURE, COSIGNATURE_ML_DSA, ED25519, parseVkey } from "./note.mjs";

const SIZE_MAX = 65536;
const NUMBER_MAX = 10n ** 19n - 1n;
const KINDS = ["own", "consortium", "public"];

const refuse = (why) => fail("policy-malformed", `the policy ${why}`);

/** A URL that may be asked: https, or http on the machine itself. */
export const checkedUrl = (given) => {
  let url;
  try {
    url = new URL(given);
  } catch {
    fail("url-refused", `${given} is no URL`);
  }
  const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && loopback)) {
    fail("url-refused", `${given} is not https (http is for the machine itself)`);
  }
  if (url.username || url.password) fail("url-refused", "a URL with a password is not taken");
  return url.href;
};

const emptyPolicy = () => ({
  logs: [], intake: [], witnesses: [], groups: new Map(), quorum: null,
  chain: null, rpc: [], more: new Set(), contracts: [], depth: "finalized", anchorWithin: null,
});

const keyOf = async (vkey, types, what) => {
  const key = await parseVkey(vkey ?? "");
  if (!key || !types.includes(key.type)) refuse(`has a ${what} line without a key of its type`);
  return key;
};

const addKey = (keys, key, what) => {
  if (keys.some((one) => hex(one.key) === hex(key.key))) refuse(`names the key of a ${what} twice`);
  keys.push(key);
};

const define = (policy, name, value) => {
  if (!name || name === "none" || policy.groups.has(name)) refuse(`defines ${name} twice, or none`);
  policy.groups.set(name, value);
};

const decimalOf = (given, what) => decimal(given, NUMBER_MAX) ?? refuse(`has no number for ${what}`);

const addGroup = (policy, [name, threshold, ...members]) => {
  for (const member of members) {
    const known = policy.groups.get(member) ?? refuse(`has a group with ${member}, which stands nowhere above`);
    if (known.used) refuse(`has ${member} in two groups`);
    known.used = true;
  }
  const words = { any: 1n, all: BigInt(members.length) };
  const least = Object.hasOwn(words, threshold) ? words[threshold] : decimalOf(threshold, "a group");
  if (least < 1n || least > members.length) refuse("has a group with a threshold that cannot be");
  define(policy, name, { members: members.map((member) => policy.groups.get(member)), least });
};

// The words of C2SP tlog-policy, with how many words may follow.
const LINES = {
  log: [1, 2, async (policy, [vkey, url]) => {
    addKey(policy.logs, { ...(await keyOf(vkey, [ED25519], "log")), url }, "log");
  }],
  witness: [2, 3, async (policy, [name, vkey]) => {
    const witness = await keyOf(vkey, [COSIGNATURE, COSIGNATURE_ML_DSA], "witness");
    addKey(policy.witnesses, witness, "witness");
    define(policy, name, { witness });
  }],
  group: [3, Infinity, addGroup],
  quorum: [1, 1, (policy, [name]) => {
    if (policy.quorum) refuse("has two quorum lines");
    policy.quorum = name === "none" ? { members: [], least: 0n } : policy.groups.get(name) ?? refuse(`has no ${name}`);
  }],
};

// Ours, behind #gridseal.
const OUR_LINES = {
  chain: [3, 3, (policy, [id, kind, url]) => {
    if (policy.chain || !KINDS.includes(kind)) refuse("has two chains, or one of a kind that there is not");
    policy.chain = { id: decimalOf(id, "the chain"), kind };
    if (url !== "-") policy.rpc.unshift(url);
  }],
  rpc: [1, 1, (policy, [url]) => {
    if (policy.more.has(url)) refuse("has an endpoint twice");
    policy.more.add(url);
    policy.rpc.push(url);
  }],
  contract: [2, 2, (policy, [address, hash]) => policy.contracts.push(contractOf(address, hash))],
  depth: [1, 1, (policy, [depth]) => {
    policy.depth = depth === "finalized" ? depth : decimalOf(depth, "the depth");
  }],
  "anchor-within": [1, 1, (policy, [seconds]) => {
    policy.anchorWithin = decimalOf(seconds, "anchor-within");
  }],
  intake: [1, 1, async (policy, [vkey]) => {
    const key = await keyOf(vkey, [ED25519], "intake");
    if (!key.name.endsWith("/intake")) refuse("has an intake key whose name does not end in /intake");
    addKey(policy.intake, key, "intake");
  }],
};
const ONCE = ["chain", "depth", "anchor-within"];

/** {address, hash} of a contract line; hash null for any code. */
export const contractOf = (address, hash) => {
  if (!/^0x[0-9a-fA-F]{40}$/.test(address)) refuse("has an address that is none");
  if (hash !== "-" && !/^0x[0-9a-f]{64}$/.test(hash)) refuse("has a hash of code that is none");
  return { address: address.toLowerCase(), hash: hash === "-" ? null : unhex(hash.slice(2), 32) };
};

const apply = async (lines, word, rest, policy) => {
  const [least, most, act] = Object.hasOwn(lines, word) ? lines[word] : refuse(`has a line that begins with ${word}`);
  if (rest.length < least || rest.length > most) refuse(`has a ${word} line with too many or too few words`);
  await act(policy, rest);
};

/** The policy of a file's bytes. */
export const parsePolicy = async (bytes) => {
  if (bytes.length > SIZE_MAX) refuse(`is over ${SIZE_MAX} bytes`);
  if (bytes.some((byte) => (byte < 0x20 && byte !== 0x09 && byte !== 0x0a) || byte === 0x7f)) refuse("holds a control character");
  let content = ""; // one character a byte: c2sp.org/tlog-policy, Character set
  for (const byte of bytes) content += String.fromCharCode(byte);
  const policy = emptyPolicy();
  const seen = new Set();
  for (const line of content.split("\n")) {
    const [word, ...rest] = line.split(/[ \t]+/).filter((one) => one !== "");
    if (word === undefined) continue;
    if (word.startsWith("#gridseal")) {
      if (!seen.has("version") || word !== "#gridseal") {
        if (word !== "#gridseal/policy/v1" || rest.length || seen.has("version")) refuse("is of another version");
        seen.add("version");
        continue;
      }
      if (ONCE.includes(rest[0]) && seen.has(rest[0])) refuse(`has two ${rest[0]} lines`);
      seen.add(rest[0]);
      await apply(OUR_LINES, rest[0] ?? "", rest.slice(1), policy);
    } else if (!word.startsWith("#")) await apply(LINES, word, rest, policy);
  }
  if (!policy.quorum) refuse("has no quorum line");
  const forChain = policy.contracts.length || policy.rpc.length || seen.has("depth") || seen.has("anchor-within");
  if (policy.chain ? !policy.contracts.length : forChain) refuse("has a chain without contract, or lines that need a chain");
  return policy;
};

/** A policy of options instead of a file: keys of logs and intake, and a chain of unknown kind. */
export const policyOfOptions = async ({ logKeys, rpc, contracts }) => {
  const policy = emptyPolicy();
  policy.quorum = { members: [], least: 0n };
  for (const vkey of logKeys) {
    const key = await keyOf(String.fromCharCode(...utf8(vkey)), [ED25519], "log");
    addKey(key.name.endsWith("/intake") ? policy.intake : policy.logs, key, "log");
  }
  if (contracts.length) policy.chain = { id: null, kind: "unknown" };
  policy.contracts = contracts.map((address) => contractOf(address, "-"));
  policy.rpc = rpc;
  return policy;
};

/** Whether `signed`, a Set of witnesses, is enough for the quorum. */
export const enough = (quorum, signed) => {
  if (quorum.witness) return signed.has(quorum.witness);
  return BigInt(quorum.members.filter((one) => enough(one, signed)).length) >= quorum.least;
};

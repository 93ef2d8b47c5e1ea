// Signed notes, keys, checkpoints and cosignatures: docs/spec/checkpoint.md.

import { bigEndian, concat, decimal, ed25519, fail, hex, mlDsa44, sha256, SIZE_MAX, unbase64, unsigned, utf8 } from "./bytes.mjs";

const SIGNATURES_MAX = 16;
export const ED25519 = 0x01;
export const COSIGNATURE = 0x04;
export const COSIGNATURE_ML_DSA = 0x06;
const KEY_BYTES = { [ED25519]: 32, [COSIGNATURE]: 32, [COSIGNATURE_ML_DSA]: 1312 };

const isKeyName = (name) => name !== "" && !/[+\p{White_Space}]/u.test(name);

/**
 * {name, id, type, key} of `<name>+<id>+<base64>`, or null where it is not written like that or the id is another.
 *
 * `octets`: one character a byte, as C2SP tlog-policy has it; a name that is no UTF-8 is that of no note.
 */
export const parseVkey = async (octets) => {
  const first = octets.indexOf("+"); // base64 may hold a plus sign, too
  const second = octets.indexOf("+", first + 1);
  if (first < 1 || second < 0) return null;
  const nameBytes = Uint8Array.from(octets.slice(0, first), (one) => one.charCodeAt(0));
  const name = new TextDecoder("utf-8", { ignoreBOM: true }).decode(nameBytes);
  const [id, bytes] = [octets.slice(first + 1, second), unbase64(octets.slice(second + 1))];
  if (!isKeyName(name) || !bytes || bytes.length !== 1 + KEY_BYTES[bytes[0]]) return null;
  const expected = hex((await sha256(nameBytes, utf8("\n"), bytes)).slice(0, 4));
  return id === expected ? { name, id, type: bytes[0], key: bytes.slice(1) } : null;
};

/** {text, lines: [{name, id, signature}]} of a signed note. */
export const parseNote = (note) => {
  const malformed = (why) => fail("receipt-malformed", `the signed note ${why}`);
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) malformed("holds a control character");
  const cut = note.lastIndexOf("\n\n");
  if (cut < 0 || !note.endsWith("\n")) malformed("has no empty line before its signatures");
  const lines = note.slice(cut + 2, -1).split("\n");
  if (lines.length > SIGNATURES_MAX) malformed(`has more than ${SIGNATURES_MAX} signatures`);
  const parsed = lines.map((line) => {
    const [, name, blob] = /^— ([^ ]+) ([^ ]+)$/.exec(line) ?? malformed("has a signature line of another form");
    const bytes = unbase64(blob);
    if (!isKeyName(name) || !bytes || bytes.length < 5) malformed("has a signature line of another form");
    return { name, id: hex(bytes.slice(0, 4)), signature: bytes.slice(4), raw: `${line}\n` };
  });
  return { text: note.slice(0, cut + 1), lines: parsed };
};

/** {origin, size, root, text, lines} of a checkpoint. */
export const parseCheckpoint = (note) => {
  const { text, lines } = parseNote(note);
  const [origin, size, root, ...rest] = text.split("\n");
  const parsed = { origin, size: decimal(size), root: unbase64(root ?? "", 32), text, lines };
  if (!origin || parsed.size === null || !parsed.root || rest.length !== 1 || rest[0] !== "") {
    fail("receipt-malformed", "the checkpoint is not written as docs/spec/checkpoint.md says");
  }
  return parsed;
};

/** Checks the lines of known plain keys; `what` says whose they are. One at least must be there, and all must hold. */
export const checkSignatures = async (note, keys, what) => {
  let found = 0;
  for (const line of note.lines) {
    const key = keys.find((one) => one.name === line.name && one.id === line.id);
    if (!key) continue;
    if (!(await ed25519(key.key, line.signature, utf8(note.text)))) {
      fail("signature-invalid", `the signature of ${line.name} does not hold`);
    }
    found++;
  }
  if (!found) fail("log-key-unknown", `no key of the policy signed as ${what}`);
};

const cosigned = async (witness, checkpoint, signature) => {
  const [stamp, value] = [signature.slice(0, 8), signature.slice(8)];
  const time = unsigned(stamp);
  if (time > SIZE_MAX) return { holds: false };
  if (witness.type === COSIGNATURE) {
    const message = utf8(`cosignature/v1\ntime ${time}\n${checkpoint.text}`);
    return { holds: await ed25519(witness.key, value, message), time };
  }
  const [name, origin] = [utf8(witness.name), utf8(checkpoint.origin)];
  const message = concat(
    utf8("subtree/v1\n\0"), bigEndian(name.length, 1), name, stamp, bigEndian(origin.length, 1), origin,
    bigEndian(0, 8), bigEndian(checkpoint.size, 8), checkpoint.root,
  );
  return { holds: await mlDsa44(witness.key, value, message), time };
};

/** {signed: Set of witnesses, times, unsupported}: who of `witnesses` cosigned the checkpoint. */
export const checkCosignatures = async (checkpoint, witnesses) => {
  const [signed, times, unsupported] = [new Set(), [], []];
  for (const line of checkpoint.lines) {
    const witness = witnesses.find((one) => one.name === line.name && one.id === line.id);
    if (!witness) continue;
    const { holds, time } = await cosigned(witness, checkpoint, line.signature);
    if (holds === false) fail("cosignature-invalid", `the cosignature of ${line.name} does not hold`);
    if (holds === null) unsupported.push(line.name);
    else {
      signed.add(witness);
      times.push(time);
    }
  }
  return { signed, times, unsupported };
};

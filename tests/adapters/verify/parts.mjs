// What the reference says about the vectors of parts; prints the names of those that differ, and how many there were.

import { readFileSync } from "node:fs";
import * as bytes from "../../../docs/spec/reference/bytes.mjs";
import { bookKey, dayKey, decodeDay } from "../../../docs/spec/reference/day.mjs";
import { checkSignatures, parseCheckpoint, parseNote, parseVkey } from "../../../docs/spec/reference/note.mjs";
import { checkInclusion, commitment, leafHash, parseBookProof, proved } from "../../../docs/spec/reference/tree.mjs";

const { hex, utf8, unpseudonym } = bytes;
const from = (given) => Uint8Array.from(given.replace(/^0x/, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
const read = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url)));
const differing = [];
let count = 0;

const check = async (name, expected, act) => {
  let found;
  try {
    found = await act();
  } catch (error) {
    found = error.code ?? String(error);
  }
  count++;
  if (JSON.stringify(found) !== JSON.stringify(expected)) differing.push(`${name}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
};

const commitments = read("commitments");
for (const one of commitments.pseudonyms) {
  await check("pseudonym", one.pseudonym, async () => {
    const made = await bytes.hmacSha256(from(one.key), utf8("gridseal/pseudonym/v1"));
    return bytes.base64(made).replace(/\+/g, "-").replace(/\//g, "_").replace("=", "");
  });
}
for (const [n, one] of commitments.commitments.entries()) {
  const [type, data] = [from(one.type), from(one.data)];
  const salt = () => bytes.hmacSha256(from(one.salt_key), bytes.concat(utf8("gridseal/salt/v1\0"), type, data));
  await check(`salt ${n}`, one.salt, async () => hex(await salt()));
  const entry = async () => commitment(type[0], await salt(), data);
  await check(`commitment ${n}`, one.commitment, async () => hex(await entry()));
  await check(`leaf ${n}`, one.leaf, async () => hex(await leafHash(await entry())));
}
for (const one of commitments.public) await check("public entry", one.leaf, async () => hex(await leafHash(utf8(one.entry))));

const notes = read("notes");
const signedBy = async (note, vkey) => {
  await checkSignatures(parseNote(note), [await parseVkey(vkey)], "somebody");
  return "holds";
};
for (const one of notes.good) await check(one.name, "holds", () => signedBy(one.note, one.vkey));
for (const one of notes.bad) await check(one.name, one.code, () => signedBy(one.note, notes.good[1].vkey));

const checkpoints = read("checkpoints");
await check("log id", checkpoints.log_id, () => `0x${hex(bytes.keccak256(utf8(checkpoints.origin)))}`);
for (const [name, found] of Object.entries(checkpoints.selectors)) {
  await check(name, found, () => `0x${hex(bytes.keccak256(utf8(name)).slice(0, 4))}`);
}
for (const one of checkpoints.good) {
  await check(`checkpoint of ${one.size}`, [one.size, one.root], () => {
    const { size, root } = parseCheckpoint(one.note);
    return [Number(size), hex(root)];
  });
}
for (const one of checkpoints.bad) await check(one.name, one.code, () => parseCheckpoint(one.note));

const book = read("book");
const value = async (key, proof, root) => {
  const parsed = parseBookProof(proof) ?? bytes.fail("receipt-malformed", "not written like that");
  const found = await proved(parsed, from(key), from(root));
  return found === null ? null : hex(found);
};
const toMap = (given) => {
  if (Array.isArray(given)) return given.map(toMap);
  return given && typeof given === "object" ? new Map(Object.entries(given).map(([name, one]) => [name, toMap(one)])) : given;
};
for (const one of book.day_keys) await check(`day ${one.day}`, one.key, async () => hex(await dayKey(BigInt(one.day))));
for (const tree of book.trees) {
  for (const one of tree.proofs) await check(tree.name, one.value ?? null, () => value(one.key, toMap(one.proof), tree.root));
}
for (const one of book.bad) {
  await check(one.name, true, async () => {
    try {
      return (await value(one.key, toMap(one.proof), one.root)) !== (one.value ?? null);
    } catch (error) {
      return ["book-mismatch", "receipt-malformed"].includes(error.code);
    }
  });
}

const days = read("device_days");
for (const one of days.keys) {
  await check(`key of ${one.register}`, one.key, async () => hex(await bookKey(BigInt(one.day), unpseudonym(one.device), one.register)));
}
for (const { day, data } of days.encoded) {
  await check(`device-day of version ${day.version}`, day, () => {
    const found = decodeDay(from(data));
    const slots = found.slots.map((slot) => [slot.state, slot.reason, slot.energy, slot.index ?? 2n ** 64n - 1n].map(String));
    return {
      key: hex(found.key), version: String(found.version), previous: hex(found.previous), prefix: String(found.prefix),
      start: String(found.start), slot_s: String(found.slotS), slots,
    };
  });
}
for (const one of days.bad) await check(one.name, null, () => decodeDay(from(one.data)));

const trees = read("trees");
for (const one of trees.inclusions) {
  await check(one.name, one.code, async () => {
    const path = one.path.map(from);
    await checkInclusion(await leafHash(utf8(one.entry)), BigInt(one.index), BigInt(one.size), path, from(one.root));
    return "holds";
  });
}
const anchor = read("anchor");
await check("anchor.json", "holds", async () => {
  const leaf = await leafHash(utf8(anchor.entries[6]));
  await checkInclusion(leaf, 6n, 9n, anchor.inclusion_6_of_9.map(from), from(anchor.heads[1].root));
  return "holds";
});
for (const name of ["rootAt(bytes32,uint64)", "latest(bytes32)", "closeAt(bytes32,uint64)", "closes(bytes32)"]) {
  await check(name, anchor.selectors[name], () => `0x${hex(bytes.keccak256(utf8(name)).slice(0, 4))}`);
}

process.stdout.write(`${JSON.stringify({ differing, count })}\n`);

// Receipts, accepted notes and phasor frames: docs/spec/receipt.md, checkpoint.md, pmu.md. Nothing here asks anybody.

import { decimal, fail, text, unbase64, unhex, utf8 } from "./bytes.mjs";
import { hasMembers, parseCanonical } from "./json.mjs";
import { checkCosignatures, checkSignatures, parseCheckpoint, parseNote } from "./note.mjs";
import { enough } from "./policy.mjs";
import { checkInclusion, commitment, leafHash, PATH_MAX } from "./tree.mjs";

const TEXT_MAX = 4 * 1024 * 1024;
const INSTANT = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{0,5}[1-9]))?Z$/;
const [NUMBER, HASH] = [/^(0|[1-9][0-9]{0,18})$/, /^0x[0-9a-f]{64}$/];
const HINT = { chain_id: NUMBER, contract: /^0x[0-9a-fA-F]{40}$/, log: HASH, size: NUMBER, block: NUMBER, tx: HASH };

const malformed = (why) => fail("receipt-malformed", why);

/** Microseconds since 1970 of RFC 3339 in UTC as the pages write it, or null. */
export const instant = (given) => {
  const parts = typeof given === "string" && INSTANT.exec(given);
  if (!parts) return null;
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number);
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const written = date.toISOString().slice(0, 19);
  if (year < 100 || written !== given.slice(0, 19)) return null; // 30 February, hour 24, second 60
  return BigInt(date.getTime()) * 1000n + BigInt((parts[7] ?? "").padEnd(6, "0"));
};

/** Checks that `anchor` is a hint as receipts have it; nothing depends on what it says. */
export const isHint = (anchor) =>
  hasMembers(anchor, Object.keys(HINT)) &&
  Object.entries(HINT).every(([name, form]) => typeof anchor.get(name) === "string" && form.test(anchor.get(name))) &&
  decimal(anchor.get("size")) !== null;

export const parsePath = (lines) => {
  if (lines.length > PATH_MAX) return null;
  const hashes = lines.map((line) => unbase64(line, 32));
  return hashes.includes(null) ? null : hashes;
};

const parseExtra = (line) => {
  const wrong = (why) => fail("extra-malformed", why);
  const bytes = unbase64(line.slice(6)) ?? wrong("extra is not base64");
  let extra;
  try {
    extra = parseCanonical(text(bytes), 3);
  } catch {
    wrong("extra is not UTF-8");
  }
  if (!extra || !hasMembers(extra, ["v", "type", "record", "salt"], ["anchor", "frame"])) wrong("extra has not its members");
  if (extra.get("v") !== "gridseal.receipt/1" || extra.get("type") !== "01") wrong("extra is of another version or type");
  if (typeof extra.get("record") !== "string" || !unhex(extra.get("salt"), 32)) wrong("extra has no record or salt");
  if (extra.has("anchor") && !isHint(extra.get("anchor"))) wrong("extra has an anchor that is none");
  return extra;
};

/** {extra, index, path, checkpoint} of a tlog-proof. */
export const parseReceipt = (content) => {
  const cut = content.indexOf("\n\n");
  if (utf8(content).length > TEXT_MAX || cut < 0) malformed("no C2SP tlog-proof");
  const lines = content.slice(0, cut).split("\n");
  if (lines[0] !== "c2sp.org/tlog-proof@v1") malformed("no C2SP tlog-proof of version 1");
  if (!lines[1]?.startsWith("extra ")) fail("extra-malformed", "there is no extra line");
  const index = decimal(lines[2]?.startsWith("index ") ? lines[2].slice(6) : "");
  const path = parsePath(lines.slice(3));
  if (index === null || !path) malformed("index or path is not written as docs/spec/receipt.md says");
  const checkpoint = parseCheckpoint(content.slice(cut + 2));
  return { extra: parseExtra(lines[1]), index, path, checkpoint };
};

/** Step 3: a key that the policy trusts for this origin signed the checkpoint; who cosigned it. */
export const checkLogSignature = async (checkpoint, policy) => {
  const keys = policy.logs.filter((key) => key.name === checkpoint.origin);
  await checkSignatures(checkpoint, keys, `the log ${checkpoint.origin}`);
  return checkCosignatures(checkpoint, policy.witnesses);
};

/** Step 5; the times of the cosignatures that hold. */
export const checkQuorum = ({ signed, times, unsupported }, policy) => {
  if (!enough(policy.quorum, signed)) {
    const untold = unsupported.length ? `; ML-DSA is not supported here: ${unsupported.join(", ")}` : "";
    fail("quorum-missing", `too few of the policy's witnesses cosigned${untold}`);
  }
  return times;
};

/** Steps 1 to 5. What it gives is a claim that a chain can be asked about. */
export const authenticate = async (content, policy) => {
  const { extra, index, path, checkpoint } = parseReceipt(content);
  const record = parseCanonical(extra.get("record")) ?? fail("record-not-canonical", "the record does not encode to itself");
  const cosigned = await checkLogSignature(checkpoint, policy);
  const entry = await commitment(1, unhex(extra.get("salt"), 32), utf8(extra.get("record")));
  const leaf = await leafHash(entry);
  await checkInclusion(leaf, index, checkpoint.size, path, checkpoint.root);
  const times = checkQuorum(cosigned, policy);
  if (extra.has("frame")) await checkFrame(extra.get("frame"), record);
  return { checkpoint, index, leaf, times, records: [record], hint: extra.get("anchor") ?? null };
};

const checkFrame = async (frame, record) => {
  const wrong = () => fail("frame-malformed", "frame is not written as docs/spec/pmu.md says");
  if (!hasMembers(frame, ["count", "data", "index", "path", "salt"])) wrong();
  const [count, index, salt] = [decimal(frame.get("count")), decimal(frame.get("index")), unhex(frame.get("salt"), 32)];
  const path = Array.isArray(frame.get("path")) ? parsePath(frame.get("path")) : null;
  const data = typeof frame.get("data") === "string" ? parseCanonical(frame.get("data")) : null;
  if (count === null || index === null || !salt || !path || !data) wrong();
  const [at, begin, end] = [data.get("time"), record.get("begin"), record.get("end")].map(instant);
  const root = unhex(record.get("root"), 32);
  const inside = at !== null && begin !== null && end !== null && begin <= at && at < end;
  if (record.get("kind") !== "phasors" || record.get("frames") !== frame.get("count") || !inside || !root) {
    fail("frame-mismatch", "the frame is none of this record's window");
  }
  const leaf = await leafHash(await commitment(4, salt, utf8(frame.get("data"))));
  try {
    await checkInclusion(leaf, index, count, path, root);
  } catch (error) {
    fail("frame-mismatch", `the frame is not proved: ${error.message}`);
  }
};

const ACCEPTED = [
  /^gridseal\/accepted\/v1$/, /^(.*)$/, /^message ([0-9a-f]{64})$/,
  /^batch [0-9a-f]{16}\/(?:0|[1-9]\d*)\/(?:0|[1-9]\d*)$/, /^received (.+)$/, /^include-by (.+)$/, /^$/,
];

/** Fails always: `promise`, `promise-due`, or what is wrong with an accepted note. */
export const acceptedNote = async (content, policy, nowUs) => {
  const note = parseNote(content);
  const lines = note.text.split("\n");
  const found = ACCEPTED.map((form, at) => form.exec(lines[at] ?? "\n"));
  const [received, due] = [found[4], found[5]].map((one) => one && instant(one[1]));
  if (lines.length !== ACCEPTED.length || found.includes(null) || received === null || due === null) {
    malformed("no accepted note as docs/spec/checkpoint.md has it");
  }
  if (!policy.intake.length) fail("intake-key-missing", "the policy has no intake key");
  const name = `${found[1][1]}/intake`;
  await checkSignatures(note, policy.intake.filter((key) => key.name === name), name);
  if (nowUs > due) fail("promise-due", `the promise was due at ${found[5][1]}: ask for the receipt`);
  fail("promise", `a promise to log the message by ${found[5][1]}; no proof of an entry`);
};

/** The receipt's text in a summary; fails with `no-receipt` where there is none but the rest is as it should be. */
export const receiptOfSummary = async (status, policy) => {
  const receipt = status.get("receipt");
  if (typeof receipt !== "string") {
    if (typeof status.get("checkpoint") !== "string") malformed("the summary has neither receipt nor checkpoint");
    await checkLogSignature(parseCheckpoint(status.get("checkpoint")), policy);
    fail("no-receipt", "this summary carries no receipt: fetch that of each entry");
  }
  if (status.get("first_index") !== parseReceipt(receipt).index) malformed("the summary carries another entry's receipt");
  return receipt;
};

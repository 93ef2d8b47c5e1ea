// The day of a device, `gridseal.day/1`: docs/spec/completeness.md. Nothing here asks anybody.

import { bigEndian, decimal, equal, fail, hex, sha256, unbase64, unhex, unpseudonym, unsigned, utf8 } from "./bytes.mjs";
import { hasMembers, parseCanonical } from "./json.mjs";
import { parseCheckpoint } from "./note.mjs";
import { checkLogSignature, checkQuorum, instant, isHint, parsePath } from "./receipt.mjs";
import { checkInclusion, commitment, leafHash, parseBookProof, proved } from "./tree.mjs";

const MEMBERS = ["v", "device", "date", "register", "zone", "checkpoint", "close", "day_proof", "previous", "slots"];
const CLOSE_MEMBERS = ["book", "date", "day_book", "device_days", "k", "prefix", "time", "type", "v"];
const DECIMAL = /^(-?)(0|[1-9][0-9]*)(?:\.([0-9]*[1-9]))?$/;
const NO_INDEX = 2n ** 64n - 1n;
const [HOUR, DAY] = [3600n, 86400n];
const SLOTS_MAX = 1560;
const UNITS = ["Wh", "varh", "VAh"];

const malformed = (why) => fail("receipt-malformed", `the document ${why}`);
const mismatch = (why) => fail("book-mismatch", why);

/** Days since 1970-01-01 of a civil date, or null. */
const dayNumber = (date) => {
  const us = typeof date === "string" && /^\d{4}-\d\d-\d\d$/.test(date) ? instant(`${date}T00:00:00Z`) : null;
  return us === null || us < 0n ? null : us / 1_000_000n / DAY;
};

export const bookKey = (day, device, register) => sha256(utf8("gridseal/book/v1\0"), bigEndian(day, 4), device, utf8(register));
export const dayKey = (day) => sha256(utf8("gridseal/day/v1\0"), bigEndian(day, 4));

const withPlace = (given, members) => {
  if (!hasMembers(given, [...members, "index", "path"])) malformed("has an entry without its members");
  const [index, path] = [decimal(given.get("index")), given.get("path")];
  const hashes = Array.isArray(path) ? parsePath(path) : null;
  if (index === null || !hashes) malformed("has an index or path that is none");
  for (const name of members) if (typeof given.get(name) !== "string") malformed(`has a ${name} that is no text`);
  return { index, path: hashes };
};

const saltOf = (given) => unhex(given.get("salt"), 32) ?? malformed("has a salt that is none");

const parseVersion = (given) => {
  const place = withPlace(given, ["data", "salt"]);
  return { ...place, salt: saltOf(given), data: unbase64(given.get("data")) ?? malformed("has data that is no base64") };
};

const parseSlot = (given) => {
  const place = withPlace(given, ["slot", "record", "salt"]);
  const slot = decimal(given.get("slot")) ?? malformed("has a slot without number");
  return { ...place, slot, salt: saltOf(given), record: given.get("record") };
};

const arrayOf = (given, parse) => (Array.isArray(given) ? given.map(parse) : malformed("lacks an array"));
const proofOf = (given) => parseBookProof(given) ?? malformed("has a proof of another form");

/** Step 1: what a document holds. */
const parseDay = (document) => {
  if (!hasMembers(document, MEMBERS, ["key_proof", "device_day", "anchor"])) malformed("has not the members of gridseal.day/1");
  if (document.get("v") !== "gridseal.day/1") malformed("is of another version");
  const [device, day] = [unpseudonym(document.get("device")), dayNumber(document.get("date"))];
  const register = document.get("register");
  if (!device || day === null) malformed("has a device or date that is none");
  if (typeof register !== "string" || !/^[!-~]{0,256}$/.test(register)) malformed("has a register that is not ASCII");
  if (typeof document.get("zone") !== "string" || typeof document.get("checkpoint") !== "string") malformed("lacks a text");
  if (document.has("anchor") && !isHint(document.get("anchor"))) malformed("has an anchor that is none");
  const close = { ...withPlace(document.get("close"), ["record"]), record: document.get("close").get("record") };
  return {
    device, day, register, close, names: { device: document.get("device"), date: document.get("date") },
    checkpoint: parseCheckpoint(document.get("checkpoint")),
    dayProof: proofOf(document.get("day_proof")),
    keyProof: document.has("key_proof") ? proofOf(document.get("key_proof")) : null,
    newest: document.has("device_day") ? parseVersion(document.get("device_day")) : null,
    previous: arrayOf(document.get("previous"), parseVersion),
    slots: arrayOf(document.get("slots"), parseSlot),
    hint: document.get("anchor") ?? null,
  };
};

/** Steps 1 to 3, and the quorum. The claim that they make, with the document's parts. */
export const authenticateDay = async (document, policy) => {
  const parts = parseDay(document);
  const { checkpoint, close } = parts;
  const cosigned = await checkLogSignature(checkpoint, policy);
  const included = async (one, entry) => {
    one.leaf = await leafHash(entry);
    await checkInclusion(one.leaf, one.index, checkpoint.size, one.path, checkpoint.root);
  };
  await included(close, utf8(close.record));
  for (const version of [parts.newest, ...parts.previous]) {
    if (!version) continue;
    version.commitment = await commitment(2, version.salt, version.data);
    await included(version, version.commitment);
  }
  for (const slot of parts.slots) {
    slot.parsed = parseCanonical(slot.record) ?? fail("record-not-canonical", `the record of slot ${slot.slot} does not encode to itself`);
    await included(slot, await commitment(1, slot.salt, utf8(slot.record)));
  }
  const times = checkQuorum(cosigned, policy);
  const records = parts.slots.map((slot) => slot.parsed);
  return { checkpoint, index: close.index, leaf: close.leaf, times, records, hint: parts.hint, day: parts };
};

/** Step 4: {book, date, dayBook, k, prefix} of a close record. */
const parseClose = (text) => {
  const wrong = () => fail("close-malformed", "the close record is not written as docs/spec/completeness.md says");
  const record = parseCanonical(text, 1);
  if (!record || !hasMembers(record, CLOSE_MEMBERS)) wrong();
  const [book, dayBook] = [unhex(record.get("book"), 32), unhex(record.get("day_book"), 32)];
  const [k, prefix, count] = ["k", "prefix", "device_days"].map((name) => decimal(record.get(name)));
  const date = record.get("date");
  if (record.get("type") !== "close" || record.get("v") !== "gridseal/close/v1" || !book || !dayBook) wrong();
  if (!k || prefix === null || count === null || dayNumber(date) === null || instant(record.get("time")) === null) wrong();
  return { book, date, dayBook, k, prefix };
};

/** The fields of a device-day's bytes, or null. */
export const decodeDay = (data) => {
  const field = (at, size) => data.slice(at, at + size);
  if (data.length < 93 + 18 || hex(field(0, 5)) !== "4753444401") return null;
  const [version, prefix, start] = [unsigned(field(37, 4)), unsigned(field(73, 8)), unsigned(field(81, 8))];
  const [slotS, n] = [unsigned(field(89, 2)), Number(unsigned(field(91, 2)))];
  if (n < 1 || n > SLOTS_MAX || data.length !== 93 + 18 * n) return null;
  if (slotS < 60n || slotS > 43200n || DAY % slotS) return null;
  const previous = field(41, 32);
  if (version < 1n || (version === 1n) !== previous.every((byte) => byte === 0)) return null;
  const slots = [];
  const indexes = new Set();
  for (let at = 93; at < data.length; at += 18) {
    const [state, reason] = field(at, 2);
    const [energy, index] = [BigInt.asIntN(64, unsigned(field(at + 2, 8))), unsigned(field(at + 10, 8))];
    const missing = state === 0 && energy === 0n && (reason === 1 ? index === NO_INDEX : reason === 2 || reason === 3);
    if (!missing && !(state >= 1 && state <= 3 && (reason === 0 || reason === 4))) return null;
    const has = reason !== 1;
    if (has && (index >= prefix || indexes.has(index))) return null;
    indexes.add(index);
    slots.push({ state, reason, energy, index: has ? index : null });
  }
  return { key: field(5, 32), version, previous, prefix, start, slotS, slots };
};

/** `value` · 1,000 rounded half to even, and whether that changed it; null where it is no decimal. */
const thousandths = (value) => {
  const parts = typeof value === "string" && value !== "-0" ? DECIMAL.exec(value) : null;
  if (!parts) return null;
  const fraction = parts[3] ?? "";
  const rest = fraction.slice(3);
  let number = BigInt(parts[2] + fraction.slice(0, 3).padEnd(3, "0"));
  const half = rest === "5";
  if (half ? number % 2n === 1n : rest > "5") number += 1n;
  return { number: parts[1] ? -number : number, rounded: rest !== "" };
};

const saysMissing = (quality) =>
  Array.isArray(quality) && quality.some((code) => typeof code === "string" && /^[0-9]+\.5\.259$/.test(code));

const written = (seconds) => new Date(Number(seconds) * 1000).toISOString().replace(".000", "");

const checkSlot = (slot, given, day, names, register, position) => {
  const wrong = (why) => fail("slot-mismatch", `slot ${position}: ${why}`);
  const record = given.parsed;
  if (given.index !== slot.index) wrong("another entry than the device-day names");
  if (record.get("device") !== names.device || record.get("register") !== register) wrong("of another device or register");
  if (!["reading", "telemetry"].includes(record.get("kind"))) wrong("neither a reading nor telemetry");
  const begin = day.start + BigInt(position) * day.slotS;
  if (record.get("begin") !== written(begin) || record.get("end") !== written(begin + day.slotS)) wrong("of another time");
  const value = record.has("value") ? thousandths(record.get("value")) : null;
  const unit = UNITS.includes(record.get("unit"));
  if (slot.reason === 2) {
    if (record.has("value") && !saysMissing(record.get("quality"))) wrong("has a value, and the device-day says missing");
    if (record.has("unit") && !unit) wrong("of another unit");
    return;
  }
  if (!value || !unit) wrong("without a value, or of another unit");
  const fits = value.number === BigInt.asIntN(64, value.number);
  if (slot.reason === 3 ? fits : value.number !== slot.energy || value.rounded !== (slot.reason === 4)) wrong("of another value");
};

const checkPrevious = (newest, previous) => {
  const wrong = (why) => fail("version-mismatch", why);
  if (newest.day.version !== BigInt(previous.length) + 1n) wrong("not every version before is there");
  let newer = newest;
  for (const version of previous) {
    version.day = decodeDay(version.data) ?? wrong("a version before is no device-day");
    if (!equal(version.day.key, newer.day.key) || version.day.version !== newer.day.version - 1n) wrong("a version of another day");
    if (version.index >= newer.index || version.day.prefix > newer.day.prefix) wrong("a version before that came later");
    if (!equal(version.commitment, newer.day.previous)) wrong("a version does not name the one before");
    newer = version;
  }
};

const checkDay = (parts, key, close) => {
  const day = decodeDay(parts.newest.data) ?? mismatch("the device-day is not written as docs/spec/completeness.md says");
  const away = day.start - DAY * parts.day;
  const length = BigInt(day.slots.length) * day.slotS;
  if (!equal(day.key, key)) mismatch("the device-day is of another device, date or register");
  if (away > 14n * HOUR || away < -14n * HOUR) mismatch("the device-day begins at another date");
  if (length < 22n * HOUR || length >= 26n * HOUR + day.slotS) mismatch("the device-day has not the length of a day");
  if (day.prefix > close.prefix || parts.newest.index >= parts.close.index) mismatch("the device-day is newer than the close");
  return day;
};

/** What was proved, for people: the book's key holds all of it, and the bytes the times. */
const aboutDay = ({ names, register }, day) => {
  const end = day.start + BigInt(day.slots.length) * day.slotS;
  return `device ${names.device}, register ${register}, ${names.date} (${written(day.start)} to ${written(end)})`;
};

const counted = (missing, count) => {
  if (!missing) return `all ${count} slots are there`;
  return missing === count ? `none of ${count} slots has a value; ${count} are missing` : `${missing} of ${count} slots are missing`;
};

/** Steps 4 to 8 of an authentic document: {code, text, close}. */
export const complete = async (parts) => {
  const close = parseClose(parts.close.record);
  const asOf = `as of close ${close.k}`;
  const nothingMore = parts.newest || parts.previous.length || parts.slots.length;
  const dayBook = await proved(parts.dayProof, await dayKey(parts.day), close.book);
  if (close.date === parts.names.date && (!dayBook || !equal(dayBook, close.dayBook))) mismatch("the close names another book of its date");
  if (!dayBook) {
    if (parts.keyProof || nothingMore) mismatch("a device-day of a date that is not in the book");
    return { code: "absent", text: `${asOf} the book has no ${parts.names.date}, so nothing of device ${parts.names.device}`, close };
  }
  if (parts.register === "" || !parts.keyProof) mismatch("the date is in the book: a register and its proof are needed");
  const key = await bookKey(parts.day, parts.device, parts.register);
  const value = await proved(parts.keyProof, key, dayBook);
  if (!value) {
    if (nothingMore) mismatch("a device-day that is not in the book");
    const what = `device ${parts.names.device} with register ${parts.register}`;
    return { code: "absent", text: `${asOf} the book of ${parts.names.date} has no ${what}`, close };
  }
  if (!parts.newest || !equal(value, parts.newest.commitment)) mismatch("the book names another device-day");
  const day = checkDay(parts, key, close);
  parts.newest.day = day;
  checkPrevious(parts.newest, parts.previous);
  const named = day.slots.map((slot, position) => ({ slot, position })).filter(({ slot }) => slot.index !== null);
  if (named.length !== parts.slots.length || named.some(({ position }, at) => parts.slots[at].slot !== BigInt(position))) {
    fail("slot-mismatch", "not one record for every slot with an index");
  }
  named.forEach(({ slot, position }, at) => checkSlot(slot, parts.slots[at], day, parts.names, parts.register, position));
  const missing = day.slots.filter((slot) => slot.state === 0).length;
  const text = `${aboutDay(parts, day)}: ${counted(missing, day.slots.length)}, ${asOf}`;
  return { code: missing ? "complete-gaps" : "complete", text, close };
};

// Verifies what Gridseal gives out, from docs/spec/ alone: receipts, accepted notes, days. In Node 18 or newer and in a browser.
//
//     node docs/spec/reference/verifier.mjs FILE… --policy FILE [--rpc URL] [--json]

import { Failure, text } from "./bytes.mjs";
import { anchored, Chain, closed } from "./chain.mjs";
import { authenticateDay, complete } from "./day.mjs";
import { parseJson } from "./json.mjs";
import { checkedUrl, parsePolicy, policyOfOptions } from "./policy.mjs";
import { acceptedNote, authenticate, receiptOfSummary } from "./receipt.mjs";

const TEXT_MAX = 4 * 1024 * 1024;
const LEVELS_MAX = 8;
const DOCUMENT_MAX = 16 * 1024 * 1024;
const EXITS = {
  0: ["authentic", "anchored", "complete", "complete-gaps", "absent", "nothing-doubtful", "findings", "not-checked"],
  2: ["promise", "promise-due", "intake-key-missing", "no-receipt", "own-chain", "not-anchored-yet", "log-needed", "log-unreachable",
    "rpc-unreachable", "rpc-endpoints-differ", "close-not-on-chain"],
  3: ["file-unreadable", "policy-malformed", "url-refused", "wrong-use"],
};

const exitOf = (code) => Number(Object.keys(EXITS).find((exit) => EXITS[exit].includes(code)) ?? 1);

/** The worst of several exit codes: 3 comes before 1, 1 before 2, 2 before 0. */
export const worst = (exits) => [3, 1, 2].find((exit) => exits.includes(exit)) ?? 0;

const notChecked = (why) => ({ code: "not-checked", text: why });

/** The outcome of a call that went wrong before there was anything to verify. */
export const callWrong = (code, words) => {
  const others = notChecked("nothing was verified");
  return { verdicts: { authentic: { code, text: words }, anchored: others, complete: others, plausible: others }, exit: exitOf(code) };
};

const verdictOf = async (act) => {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { code: error.code, text: error.message, evidence: error.evidence };
  }
};

const readable = (bytes) => {
  if (bytes.length > DOCUMENT_MAX) throw new Failure("receipt-malformed", "the file is over 16 MiB");
  try {
    return text(bytes);
  } catch {
    throw new Failure("receipt-malformed", "the file is not UTF-8");
  }
};

// Form decides what a file is: JSON by its first character, an accepted note by its first line, else a receipt.
const claimOf = async (bytes, policy, nowUs) => {
  const content = readable(bytes);
  if (!content.startsWith("{")) {
    if (content.includes("\r")) throw new Failure("receipt-malformed", "the file has carriage returns: something on its way changed it");
    if (content.startsWith("gridseal/accepted/v1\n")) return acceptedNote(content, policy, nowUs);
    return authenticate(content, policy);
  }
  let status;
  try {
    status = parseJson(content, LEVELS_MAX);
  } catch {
    throw new Failure("receipt-malformed", "the file is no JSON that could be read in one way only");
  }
  if (String(status.get("v")).startsWith("gridseal.day/")) return authenticateDay(status, policy);
  if (bytes.length > TEXT_MAX) throw new Failure("receipt-malformed", "the file is over 4 MiB");
  const type = status.get("type");
  if (type === "accepted" && typeof status.get("note") === "string") {
    return acceptedNote(status.get("note"), policy, nowUs);
  }
  if (type === "certified") return authenticate(await receiptOfSummary(status, policy), policy);
  if (type === "refused") throw new Failure("no-receipt", "the message was refused: there is no receipt");
  throw new Failure("receipt-malformed", "the file is neither receipt nor note nor day");
};

const hintDiffers = (claim, chain) => {
  if (!claim.hint || !chain) return "";
  const seen = { chain_id: String(chain.id), size: String(claim.checkpoint.size) };
  const differing = Object.keys(seen).filter((name) => claim.hint.get(name) !== seen[name]);
  if (!chain.contracts.includes(claim.hint.get("contract").toLowerCase())) differing.push("contract");
  return differing.length ? `; the receipt's hint differs: ${differing.join(", ")}` : "";
};

const plausible = (records) => {
  const codes = records.flatMap((record) => (Array.isArray(record.get("findings")) ? record.get("findings") : []))
    .map((finding) => (finding instanceof Map ? finding.get("code") : finding));
  return codes.length ? { code: "findings", text: codes.join(", ") } : { code: "nothing-doubtful", text: "the record carries no finding" };
};

// On an own chain, or one of unknown kind, an anchor shows the mechanism and proves nothing against the operator.
const onOwnChain = (policy) => ["own", "unknown"].includes(policy.chain.kind);

const withChain = async (claim, day, policy, given) => {
  let opening;
  const chain = () => (opening ??= Chain.open(policy, claim.checkpoint.origin));
  const log = policy.logs.find((one) => one.name === claim.checkpoint.origin && one.url);
  const asked = { ...given, logUrl: given.logUrl ?? log?.url };
  const anchor = await verdictOf(async () => {
    const words = (await anchored(await chain(), policy, claim, asked)) + hintDiffers(claim, await chain());
    return { code: onOwnChain(policy) ? "own-chain" : "anchored", text: words };
  });
  if (!day?.close) return [anchor, day];
  const closing = await verdictOf(async () => {
    const words = day.text + (await closed(await chain(), day.close));
    return { code: onOwnChain(policy) ? "own-chain" : day.code, text: words };
  });
  return [anchor, closing];
};

/**
 * The verdicts about a file's bytes: {verdicts, exit, evidence?}.
 *
 * `policy` is of parsePolicy or policyOfOptions; `given` = {nowUs, mtimeS, logUrl, acceptOwnChain, requireComplete}, times as BigInt.
 */
export const verify = async (bytes, policy, given) => {
  let claim = null;
  const authentic = await verdictOf(async () => {
    claim = await claimOf(bytes, policy, given.nowUs);
    const { checkpoint, index } = claim;
    return { code: "authentic", text: `entry ${index} of ${checkpoint.size} in ${checkpoint.origin}` };
  });
  let [anchor, day] = [notChecked("nothing authentic to ask about"), notChecked("no day of a device")];
  if (claim?.day) day = await verdictOf(() => complete(claim.day));
  const short = given.requireComplete && day.code !== "complete" ? 2 : 0;
  if (claim && !policy.chain) anchor = notChecked("the policy names no chain");
  if (claim && policy.chain) [anchor, day] = await withChain(claim, day, policy, { ...given, nowS: given.nowUs / 1_000_000n });
  const found = { authentic, anchored: anchor, complete: day, plausible: claim ? plausible(claim.records) : notChecked("nothing authentic") };
  const accepted = (code) => (code === "own-chain" && given.acceptOwnChain ? 0 : exitOf(code));
  const verdicts = Object.fromEntries(Object.entries(found).map(([name, one]) => [name, { code: one.code, text: one.text }]));
  const evidence = anchor.evidence ?? day.evidence;
  return { verdicts, exit: worst([short, ...Object.values(verdicts).map(({ code }) => accepted(code))]), ...(evidence ? { evidence } : {}) };
};

/** Refuses URLs of a policy that may not be asked, before anything is; only where a chain is asked are they. */
export const checkUrls = (policy, logUrl) => {
  if (!policy.chain || !policy.rpc.length) return;
  for (const url of [...policy.rpc, ...(logUrl ? [logUrl] : policy.logs.map((log) => log.url))]) if (url) checkedUrl(url);
};

export { Failure, parsePolicy, policyOfOptions };

const asCommand = async () => {
  const [{ realpathSync }, { fileURLToPath }] = await Promise.all([import("node:fs"), import("node:url")]);
  if (realpathSync(process.argv[1]) !== realpathSync(fileURLToPath(import.meta.url))) return;
  const { main } = await import("./cli.mjs");
  process.exitCode = await main(process.argv.slice(2));
};

if (globalThis.process?.argv?.[1]) asCommand(); // not awaited: cli.mjs imports this module, and would wait for it

// Verdicts of docs/spec/reference on cases: JSON lines in, JSON lines out.
//
// {"input", "policy", "now", "held_since"?, "accept_own_chain"?} → {"verdicts", "exit", "evidence"?}

import { createInterface } from "node:readline";
import { utf8 } from "../../../docs/spec/reference/bytes.mjs";
import { callWrong, checkUrls, Failure, parsePolicy, verify } from "../../../docs/spec/reference/verifier.mjs";

const outcome = async (one) => {
  try {
    const policy = await parsePolicy(utf8(one.policy));
    checkUrls(policy);
    const mtimeS = one.held_since === undefined ? null : BigInt(one.held_since);
    const given = { nowUs: BigInt(Date.parse(one.now)) * 1000n, mtimeS, acceptOwnChain: one.accept_own_chain ?? false };
    return await verify(utf8(one.input), policy, given);
  } catch (error) {
    if (error instanceof Failure) return callWrong(error.code, error.message);
    throw error;
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await outcome(JSON.parse(line)))}\n`);
}

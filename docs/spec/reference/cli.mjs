// The command line of verifier.mjs, in Node.

import { readFile, stat } from "node:fs/promises";
import { callWrong, checkUrls, Failure, parsePolicy, policyOfOptions, verify, worst } from "./verifier.mjs";

const USAGE = "node verifier.mjs FILE… --policy FILE | --log-key VKEY… [--rpc URL… --contract ADDR] [--log URL] [--accept-own-chain] [--require complete] [--json]";
const WITH_VALUE = ["--policy", "--log-key", "--rpc", "--contract", "--log", "--require"];
const WITHOUT = ["--accept-own-chain", "--json"];

const readOptions = (args) => {
  const found = { files: [], ...Object.fromEntries([...WITH_VALUE, ...WITHOUT].map((name) => [name, []])) };
  for (let at = 0; at < args.length; at++) {
    if (WITHOUT.includes(args[at])) found[args[at]].push(true);
    else if (WITH_VALUE.includes(args[at]) && at + 1 < args.length) found[args[at]].push(args[++at]);
    else if (args[at].startsWith("--")) throw new Failure("wrong-use", `${args[at]}: ${USAGE}`);
    else found.files.push(args[at]);
  }
  const policies = found["--policy"].length;
  const keys = found["--log-key"].length;
  if (!found.files.length || policies > 1 || !policies === !keys || found["--log"].length > 1) throw new Failure("wrong-use", USAGE);
  if (found["--require"].some((word) => word !== "complete")) throw new Failure("wrong-use", "--require knows only the word complete");
  const [contracts, endpoints] = [found["--contract"].length, found["--rpc"].length];
  if (policies ? contracts : contracts > 1 || !contracts !== !endpoints) throw new Failure("wrong-use", "--contract belongs to --log-key and --rpc");
  return found;
};

const bytesOf = async (path) => {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw new Failure("file-unreadable", `${path}: ${error.code ?? error.message}`);
  }
};

const policyOf = async (options) => {
  const [path, rpc] = [options["--policy"][0], options["--rpc"]];
  if (path === undefined) return policyOfOptions({ logKeys: options["--log-key"], rpc, contracts: options["--contract"] });
  const policy = await parsePolicy(await bytesOf(path));
  if (rpc.length && !policy.chain) throw new Failure("wrong-use", "--rpc needs a chain line in the policy");
  if (rpc.length) policy.rpc = rpc; // takes precedence over the policy's
  return policy;
};

const shown = (outcome, file, asJson) => {
  if (asJson) return JSON.stringify(file === undefined ? outcome : { ...outcome, file });
  const lines = Object.entries(outcome.verdicts).map(([name, { code, text }]) => `  ${name}: ${code}: ${text}`);
  return [file ?? "nothing was verified", ...lines].join("\n");
};

const outcomeOf = async (act) => {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return callWrong(error.code, error.message);
  }
};

/** The exit code of a call; prints one line a file, or one about a wrong call. */
export const main = async (args) => {
  const asJson = args.includes("--json");
  const say = (outcome, file) => {
    process.stdout.write(`${shown(outcome, file, asJson)}\n`);
    return outcome.exit;
  };
  let options, policy;
  const wrong = await outcomeOf(async () => {
    options = readOptions(args);
    policy = await policyOf(options);
    options.logUrl = options["--log"][0];
    checkUrls(policy, options.logUrl);
  });
  if (wrong) return say(wrong);
  const exits = [];
  for (const file of options.files) {
    const outcome = await outcomeOf(async () => {
      const bytes = await bytesOf(file);
      const mtimeS = BigInt(Math.floor((await stat(file)).mtimeMs / 1000));
      const asked = { acceptOwnChain: options["--accept-own-chain"].length > 0, requireComplete: options["--require"].length > 0 };
      return verify(bytes, policy, { nowUs: BigInt(Date.now()) * 1000n, mtimeS, logUrl: options.logUrl, ...asked });
    });
    exits.push(say(outcome, file));
  }
  return worst(exits);
};

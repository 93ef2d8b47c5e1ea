// node verify.mjs RECEIPT VKEY [RPC CONTRACT LOG_ID]: docs/spec/receipt.md; all but RECEIPT is the verifier's own
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts.map((one) => Buffer.from(one)))).digest();
const check = (holds, code) => holds || (console.log(code), process.exit(1));
const base64 = (text, data = Buffer.from(text ?? "", "base64")) => check(data.toString("base64") === text, "receipt-malformed") && data;
const jcs = (v) => typeof v === "string" ? JSON.stringify(v) : Array.isArray(v) ? `[${v.map(jcs)}]`
  : `{${Object.keys(v ?? 0).sort().map((name) => `${JSON.stringify(name)}:${jcs(v[name])}`)}}`;
const parsed = (text) => { try { return JSON.parse(text); } catch { return ""; } };
const canonical = (text, code) => check(jcs(parsed(text)) === text, code) && parsed(text);
const [file, vkey, rpc, contract, logId] = process.argv.slice(2);
const [proof, text, signatures] = readFileSync(file, "utf8").split("\n\n"); // 1. the parts
const [magic, extraLine, indexLine, ...path] = proof.split("\n");
const [origin, size, root, ...more] = (text ?? "").split("\n");
check(magic === "c2sp.org/tlog-proof@v1" && /^index (0|[1-9]\d*)$/.test(indexLine) && signatures?.endsWith("\n")
  && /^[1-9]\d{0,18}$/.test(size) && more.length === 0, "receipt-malformed");
const [name, id, key] = vkey.split(/\+(.{8})\+/); // 2. the signature, by the key that we brought
const signed = base64(signatures.split("\n").find((line) => line.startsWith(`— ${name} `))?.split(" ")[2]);
check(origin === name && signed.subarray(0, 4).toString("hex") === id, "log-key-unknown");
const jwk = { kty: "OKP", crv: "Ed25519", x: base64(key).subarray(1).toString("base64url") };
check(verify(null, Buffer.from(`${text}\n`), createPublicKey({ key: jwk, format: "jwk" }), signed.subarray(4)), "signature-invalid");
const extra = canonical(base64(extraLine.split(" ")[1]).toString(), "extra-malformed"); // 3. the record
check(extra.v === "gridseal.receipt/1" && extra.type === "01" && /^[0-9a-f]{64}$/.test(extra.salt), "extra-malformed");
const record = canonical(extra.record, "record-not-canonical");
let node = sha256([0], sha256([2, 1], Buffer.from(extra.salt, "hex"), extra.record)); // 4. the path, RFC 6962 §2.1.1
const [at, last] = [BigInt(indexLine.slice(6)), BigInt(size) - 1n];
check(at <= last, "index-outside");
const inner = at === last ? 0 : (at ^ last).toString(2).length; // levels below the tree's right border
const above = (at >> BigInt(inner)).toString(2).replaceAll("0", "").length;
check(path.length === inner + above, "path-wrong-length");
for (const [n, hash] of path.map((line) => base64(line)).entries())
  node = n >= inner || at >> BigInt(n) & 1n ? sha256([1], hash, node) : sha256([1], node, hash);
check(node.toString("base64") === root, "root-mismatch");
if (rpc) { // 5. rootAt(log, size); ask eth_chainId and eth_getCode in the same way
  const data = `0x930b6ace${logId.slice(2)}${BigInt(size).toString(16).padStart(64, "0")}`;
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_call", params: [{ to: contract, data }, "finalized"] });
  const answer = await fetch(rpc, { method: "POST", headers: { "content-type": "application/json" }, body });
  check((await answer.json()).result === `0x${base64(root).toString("hex")}`, "anchor-root-differs");
}
console.log(`authentic${rpc ? " anchored" : ""}`, record.value, record.unit, record.end ?? record.time);

#!/usr/bin/env node
// npm's solc (WebAssembly) in the form that py-solc-x expects of a native compiler. npm's own command prints a
// line before its JSON, which py-solc-x cannot read. All sources come in the input: no file is read here.
"use strict";

const fs = require("node:fs");
const solc = require("solc");

const args = process.argv.slice(2);
if (args.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (args.includes("--standard-json")) {
  process.stdout.write(`${solc.compile(fs.readFileSync(0, "utf8"))}\n`);
} else {
  process.stderr.write("solc.cjs: only --version and --standard-json\n");
  process.exit(1);
}

// Runs a WebAssembly program that was built for WASI, with the environment and the files of the machine:
//
//     node scripts/wasi.mjs PROGRAM.wasm [ARGUMENTS]

import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const args = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args, env: process.env, preopens: { "/": "/" } });
const program = await WebAssembly.compile(await readFile(args[0]));
process.exitCode = wasi.start(await WebAssembly.instantiate(program, wasi.getImportObject()));

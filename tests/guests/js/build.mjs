// Bundles one guest: node build.mjs kitchen.js OUTPUT. Imports of WIT interfaces stay outside.
import { build } from "esbuild";
import { SpinEsbuildPlugin } from "@spinframework/build-tools/plugins/esbuild/index.js";

const [input, outfile] = process.argv.slice(2);
await build({
    entryPoints: [input],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    minify: false,
    logLevel: "warning",
    plugins: [await SpinEsbuildPlugin()],
});

/**
 * Writes the JSON Schemas that are shipped: manifests.schema.json, with which editors check lists, and
 * receipt.schema.json. Run it after a change of src/list/schema.ts or src/bundle/receipt.ts.
 */
import { writeFile } from "node:fs/promises";
import { receiptSchema } from "../../src/bundle/receipt.ts";
import { jsonSchema } from "../../src/list/schema.ts";

for (const [name, schema] of [
  ["manifests.schema.json", jsonSchema()],
  ["receipt.schema.json", receiptSchema()],
] as const)
  await writeFile(new URL(`../../${name}`, import.meta.url), `${JSON.stringify(schema, null, 2)}\n`);

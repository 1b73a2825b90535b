/** Writes manifests.schema.json, the JSON Schema that editors check lists with. Run it after a change of src/list/schema.ts. */
import { writeFile } from "node:fs/promises";
import { jsonSchema } from "../../src/list/schema.ts";

await writeFile(
  new URL("../../manifests.schema.json", import.meta.url),
  `${JSON.stringify(jsonSchema(), null, 2)}\n`,
);

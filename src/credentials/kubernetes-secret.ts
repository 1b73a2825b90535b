/** Pull secrets of Kubernetes, as `kubectl get secret -o yaml` writes them: what Docker's file would hold. */
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { AppError } from "../errors.ts";

/** What one secret holds: the value of a config.json, or of a .dockercfg (`legacy`). */
export interface PullSecret {
  readonly name: string;
  readonly value: unknown;
  readonly legacy: boolean;
}

const keys = [
  { type: "kubernetes.io/dockerconfigjson", key: ".dockerconfigjson", legacy: false },
  { type: "kubernetes.io/dockercfg", key: ".dockercfg", legacy: true },
] as const;

const texts = z.record(z.string(), z.string()).nullish();
const Secret = z.object({
  kind: z.literal("Secret"),
  metadata: z.object({ name: z.string().nullish() }).nullish(),
  data: texts,
  stringData: texts,
});
const List = z.object({ kind: z.literal(["List", "SecretList"]), items: z.array(z.unknown()) });
const maxDepth = 4;

/**
 * The pull secrets in a parsed JSON document or in a text of YAML; undefined if it is nothing of Kubernetes. Throws
 * AUTH, without a word of what is in it, for a secret that holds no registry's credentials.
 */
export function secretsIn(document: unknown, file: string): readonly PullSecret[] | undefined {
  const items = (typeof document === "string" ? parseYaml(document) : [document]).flatMap((item) =>
    flatten(item),
  );
  if (!items.some((item) => hasKind(item))) return undefined;
  const secrets = items.flatMap((item) => {
    const secret = Secret.safeParse(item);
    return secret.success ? pullSecret(secret.data, file) : [];
  });
  if (secrets.length > 0) return secrets;
  throw new AppError("AUTH", `Cannot read ${file}: there is no pull secret in it`, {
    hint: `give a Secret of type ${keys[0].type}, with ${keys[0].key} under data`,
  });
}

function parseYaml(text: string): readonly unknown[] {
  // The parser's messages may quote the text: all that counts is whether there are any.
  const documents = parseAllDocuments(text, { prettyErrors: false, logLevel: "silent" });
  if (!Array.isArray(documents)) return [];
  return documents.flatMap((document) => {
    if (document.errors.length > 0) return [];
    try {
      return [document.toJS({ maxAliasCount: 100 }) as unknown];
    } catch {
      return [];
    }
  });
}

function flatten(item: unknown, depth = 0): readonly unknown[] {
  const list = List.safeParse(item);
  if (!list.success || depth >= maxDepth) return [item];
  return [item, ...list.data.items.flatMap((inner) => flatten(inner, depth + 1))];
}

function hasKind(item: unknown): boolean {
  return typeof item === "object" && item !== null && "kind" in item && typeof item.kind === "string";
}

/** The type may have been left out of what was cut down for the purpose: the key tells as much. */
function pullSecret(secret: z.infer<typeof Secret>, file: string): readonly PullSecret[] {
  const name = secret.metadata?.name ? `${file} (Secret ${secret.metadata.name})` : file;
  return keys.flatMap(({ key, legacy }) => {
    const plain = secret.stringData?.[key];
    const encoded = secret.data?.[key];
    const text =
      plain ?? (encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8"));
    if (text === undefined) return [];
    try {
      return [{ name, value: JSON.parse(text) as unknown, legacy }];
    } catch {
      throw new AppError("AUTH", `Cannot read ${name}: ${key} is not the base64 of JSON`, {
        hint: "make the secret anew with kubectl create secret docker-registry",
      });
    }
  });
}

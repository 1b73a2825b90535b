import { once } from "node:events";
import { Args, Flags } from "@oclif/core";
import {
  type Receipt as Document,
  formatReceipt,
  type ReceiptRepository,
  writeWhole,
} from "../bundle/receipt.ts";
import { MirrorCommand } from "../cli/base-command.ts";
import { bundleRequests } from "../cli/bundle-plan.ts";
import {
  archiveFlags,
  argumentOnly,
  namingFlags,
  receiptFlags,
  registryFlags,
  transferFlags,
} from "../cli/flags.ts";
import { openInput } from "../cli/open-input.ts";
import { everything, HoldingsCount, takeReceipt, type Wanted, wantedBy } from "../cli/receipt.ts";
import { Registries } from "../cli/registries.ts";
import {
  parseRegistryTarget,
  planRequests,
  type RegistryTarget,
  readSelection,
  targetText,
} from "../cli/requests.ts";
import type { Session } from "../cli/session.ts";
import type { PlanRequest } from "../sync/plan.ts";

/** What `--json` prints where the receipt itself goes to a file. Sizes in bytes. */
interface ReceiptResult {
  readonly receipt: { readonly path: string; readonly registry: string };
  readonly repositories: number;
  readonly tags: number;
  readonly manifests: number;
  readonly blobs: number;
  readonly bytes: number;
}

export default class Receipt extends MirrorCommand {
  static override summary = "write down what a registry holds, for mirror pull --base to leave out";
  static override description =
    `Asks the registry for its repositories, their tags, and every manifest that a tag leads to; reads no blob. With a list or a bundle, only for what these name. The receipt is JSON, holds names, digests and sizes and nothing else, and is the same bytes for the same content.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> --registry 10.141.241.175:32000 --to receipt.json",
    "<%= config.bin %> <%= command.id %> --registry registry.internal:5000/mirror -f manifests.yaml --to receipt.json",
    "<%= config.bin %> pull --base receipt.json --to november.tar",
  ];
  static override args = {
    bundle: Args.string({
      ...argumentOnly,
      description: "bundle or archive whose images are looked for, and no others; - is standard input",
    }),
  };
  static override flags = {
    registry: Flags.string({
      required: true,
      summary: "registry to ask, with the path in it that holds what was mirrored",
      helpValue: "HOST[:PORT][/PREFIX]",
      env: "MIRROR_REGISTRY",
    }),
    ...receiptFlags,
    ...archiveFlags,
    ...namingFlags,
    ...registryFlags,
    ...transferFlags,
  };

  override async run(): Promise<ReceiptResult | Document> {
    const { flags, args } = await this.parse(Receipt);
    const target = parseRegistryTarget(flags.registry);
    using session = this.begin("record", flags);
    const requests = await requestsFor(args.bundle, flags, target, session);
    await using registries = new Registries(flags, new Map(), session);
    await registries.prepare([target.host]);
    await registries.client(target.host).connect(session.signal);
    const wanted: Wanted =
      requests === undefined ? await everything(registries, target, session) : wantedBy(requests);
    const count = new HoldingsCount();
    const repositories = count.counting(takeReceipt(registries, target.host, wanted, session));
    const registry = targetText(target);
    if (flags.to === undefined && this.jsonEnabled()) {
      const found: ReceiptRepository[] = [];
      for await (const repository of repositories) found.push(repository);
      return { kind: "mirror-receipt", version: 1, registry, repositories: found };
    }
    const text = formatReceipt(registry, repositories);
    if (flags.to === undefined) {
      for await (const piece of text) if (!process.stdout.write(piece)) await once(process.stdout, "drain");
    } else await writeWhole(flags.to, text);
    session.finish(`${registry} holds ${count.words}`);
    return { receipt: { path: flags.to ?? "-", registry }, ...count.figures };
  }
}

/** What a bundle and lists name; undefined if there are none, which means everything. */
async function requestsFor(
  path: string | undefined,
  flags: {
    readonly file: readonly string[] | undefined;
    readonly name: string | undefined;
    readonly tag: string | undefined;
  },
  { prefix }: RegistryTarget,
  { signal, note }: Session,
): Promise<readonly PlanRequest[] | undefined> {
  if (path === undefined && flags.file === undefined) return undefined;
  const found: PlanRequest[] = [];
  if (path !== undefined) {
    // Platforms that are not there are none that a receipt could be asked for.
    const options = { tag: flags.tag, named: true, allowMissing: true, signal, onNote: note };
    await using bundle = await openInput(path, options);
    found.push(...bundleRequests(bundle, { template: flags.name, prefix }));
  }
  if (flags.file !== undefined) {
    const list = await readSelection([], { file: flags.file });
    found.push(...planRequests(list.images, { template: flags.name, prefix }));
  }
  return found;
}

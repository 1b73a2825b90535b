import { Args } from "@oclif/core";
import { MirrorCommand } from "../cli/base-command.ts";
import { copyToRegistry } from "../cli/copy-to-registry.ts";
import {
  argumentOnly,
  contentFlags,
  contentRules,
  failFastFlag,
  namingFlags,
  registryFlags,
  selectionFlags,
  targetFlag,
  transferFlags,
} from "../cli/flags.ts";
import { Registries } from "../cli/registries.ts";
import { parseRegistryTarget, planRequests, readSelection } from "../cli/requests.ts";
import { registrySources, type TransferResult } from "../cli/transfer.ts";

export default class Sync extends MirrorCommand {
  static override summary = "copy images straight from registries into a registry";
  static override description =
    `For sides that reach each other: nothing touches the disk. What has not changed costs one request at each side.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> --registry registry.internal:5000",
    "<%= config.bin %> <%= command.id %> nginx:1.27-alpine --registry localhost:5000/mirror",
  ];
  static override strict = false;
  static override args = {
    image: Args.string({ ...argumentOnly, description: "image to copy, instead of a list (repeatable)" }),
  };
  static override flags = {
    ...targetFlag,
    ...selectionFlags,
    ...namingFlags,
    ...contentFlags,
    ...failFastFlag,
    ...registryFlags,
    ...transferFlags,
  };

  override async run(): Promise<TransferResult> {
    const { flags, argv } = await this.parse(Sync);
    const target = parseRegistryTarget(flags.registry);
    using session = this.begin("sync", flags);
    const list = await readSelection(argv as string[], flags);
    const requests = planRequests(list.images, { template: flags.name, prefix: target.prefix });
    await using registries = new Registries(flags, list.registries, session);
    await registries.prepare([target.host, ...requests.map(({ host }) => host)]);
    const sources = registrySources(registries, requests);
    return await copyToRegistry(requests, sources, registries, session, {
      target,
      failFast: flags["fail-fast"],
      content: contentRules(flags),
    });
  }
}

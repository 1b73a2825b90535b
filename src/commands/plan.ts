import { Args, Flags } from "@oclif/core";
import { MirrorCommand } from "../cli/base-command.ts";
import { Bases } from "../cli/bases.ts";
import {
  argumentOnly,
  baseFlag,
  contentFlags,
  contentRules,
  namingFlags,
  patienceFlags,
  registryFlags,
  selectionFlags,
} from "../cli/flags.ts";
import { formatPlan, type PlanResult, planResult } from "../cli/plan-result.ts";
import { Registries } from "../cli/registries.ts";
import { parseRegistryTarget, planRequests, readSelection } from "../cli/requests.ts";
import { registrySources, registryTarget } from "../cli/transfer.ts";
import { ManifestStore } from "../content/manifest-store.ts";
import { RunFailure } from "../sync/outcome.ts";
import { makePlan } from "../sync/plan.ts";

export default class Plan extends MirrorCommand {
  static override summary = "show what pull or sync would do, and move nothing";
  static override description =
    `Resolves the same selection as pull; with --registry, as sync: images that the registry has already are shown as unchanged. With --base, as a pull that makes a delta.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %>",
    "<%= config.bin %> <%= command.id %> --registry registry.internal:5000 --json",
  ];
  static override strict = false;
  static override args = {
    image: Args.string({ ...argumentOnly, description: "image to plan for, instead of a list (repeatable)" }),
  };
  static override flags = {
    registry: Flags.string({
      summary: "registry that it would go to",
      helpValue: "HOST[:PORT][/PREFIX]",
      env: "MIRROR_REGISTRY",
    }),
    ...selectionFlags,
    ...baseFlag,
    ...namingFlags,
    ...contentFlags,
    ...registryFlags,
    ...patienceFlags,
  };

  override async run(): Promise<PlanResult> {
    const { flags, argv } = await this.parse(Plan);
    const target = flags.registry === undefined ? undefined : parseRegistryTarget(flags.registry);
    using session = this.begin("plan", flags);
    const list = await readSelection(argv as string[], flags);
    const requests = planRequests(list.images, { template: flags.name, prefix: target?.prefix ?? "" });
    await using registries = new Registries(flags, list.registries, session);
    await registries.prepare([
      ...requests.map(({ host }) => host),
      ...(target === undefined ? [] : [target.host]),
    ]);
    const manifests = new ManifestStore();
    await using bases = await Bases.open(flags.base ?? [], undefined);
    const { plan: whole, failures } = await makePlan(requests, {
      source: registrySources(registries, requests).request,
      ...(target === undefined ? {} : { target: registryTarget(registries, target) }),
      manifests,
      emit: session.emit,
      signal: session.signal,
      ...contentRules(flags),
    });
    const plan = await bases.leaveOut(whole);
    const result = planResult(plan, failures, manifests, {
      limits: session.totals().limits,
      base: bases.describe(plan),
    });
    this.log(formatPlan(result));
    if (failures.length > 0)
      throw new RunFailure(
        result.images,
        failures.map(({ error }) => error),
      );
    return result;
  }
}

import { Args, Flags } from "@oclif/core";
import { MirrorCommand } from "../cli/base-command.ts";
import { argumentOnly } from "../cli/flags.ts";
import { forgetLogin, type LogoutResult, loginHost, storedText } from "../cli/login.ts";

export default class Logout extends MirrorCommand {
  static override summary = "forget the credentials for a registry";
  static override description =
    `Takes them out of the credential helper that Docker's config.json names, and out of that file. That there were none is no failure.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> registry.internal:5000",
    "<%= config.bin %> <%= command.id %> registry.internal:5000 --authfile auth.json",
  ];
  static override args = {
    host: Args.string({ ...argumentOnly, required: true, description: "registry, as HOST[:PORT]" }),
  };
  static override flags = {
    authfile: Flags.string({
      summary: "take the credentials out of this file",
      helpValue: "FILE",
      env: "MIRROR_AUTHFILE",
    }),
  };

  override async run(): Promise<LogoutResult> {
    const { flags, args } = await this.parse(Logout);
    const registry = loginHost(args.host);
    using session = this.begin("logout", flags);
    const removed = await forgetLogin(registry, flags.authfile, session);
    for (const place of removed)
      this.log(`removed the credentials for ${registry} from ${storedText(place)}`);
    if (removed.length === 0) this.log(`there were no credentials for ${registry}`);
    return { registry, removed };
  }
}

import { Args, Flags } from "@oclif/core";
import { MirrorCommand } from "../cli/base-command.ts";
import { argumentOnly, registryFlags } from "../cli/flags.ts";
import { checkLogin, keepLogin, type LoginResult, loginHost, readLogin, storedText } from "../cli/login.ts";
import { AppError } from "../errors.ts";

export default class Login extends MirrorCommand {
  static override summary = "log in to a registry, and keep the credentials for later runs";
  static override description =
    `Asks for user name and password, has the registry check them, and keeps them where Docker would: in the credential helper that its config.json names, otherwise in that file. docker login and podman login are as good: what they keep is found too.`;
  static override examples = [
    "<%= config.bin %> <%= command.id %> registry.internal:5000",
    "<%= config.bin %> <%= command.id %> ghcr.io --username ann --password-stdin < token.txt",
    "<%= config.bin %> <%= command.id %> registry.internal:5000 --authfile auth.json",
  ];
  static override args = {
    host: Args.string({ ...argumentOnly, required: true, description: "registry, as HOST[:PORT]" }),
  };
  static override flags = {
    username: Flags.string({
      char: "u",
      summary: "user name; asked for if left out [env: MIRROR_USERNAME, with MIRROR_PASSWORD]",
      helpValue: "USER",
    }),
    "password-stdin": Flags.boolean({ summary: "read the password from standard input" }),
    // Known, to say why it is not.
    password: Flags.string({ char: "p", hidden: true }),
    ...registryFlags,
    authfile: Flags.string({
      summary: "keep the credentials in this file",
      helpValue: "FILE",
      env: "MIRROR_AUTHFILE",
    }),
  };

  override async run(): Promise<LoginResult> {
    const { flags, args } = await this.parse(Login);
    const registry = loginHost(args.host);
    if (flags.password !== undefined)
      throw new AppError(
        "USAGE",
        "Cannot take a password from the command line: every user of this machine can read it there, and the shell keeps it",
        { hint: "leave --password out to be asked, or pass --password-stdin" },
      );
    const login = await readLogin(registry, flags, {
      input: process.stdin,
      output: process.stderr,
      env: process.env,
    });
    using session = this.begin("login", flags);
    const checked = await checkLogin(registry, login, flags, session);
    if (!checked) {
      session.emit({
        type: "warning",
        message: `${registry} asks for no login: the password was not checked`,
      });
    }
    const stored = await keepLogin(registry, login, flags, session);
    this.log(`logged in to ${registry} as ${login.username}, kept in ${storedText(stored)}`);
    return { registry, username: login.username, checked, stored };
  }
}

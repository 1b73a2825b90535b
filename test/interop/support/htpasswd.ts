/**
 * Test credentials. docker-registry takes bcrypt lines only, and no Node module makes them: these were made once, with
 * crypt(3). The passwords are test data and protect nothing.
 */

/** A user of the test registries. `htpasswd` is the line for the registry's password file. */
export interface TestUser {
  readonly username: string;
  readonly password: string;
  readonly htpasswd: string;
}

/** The user that the tests log in as. */
export const alice: TestUser = {
  username: "alice",
  password: "correct-horse",
  htpasswd: "alice:$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS",
};

/** A second user, for tests that must keep credentials apart. */
export const bob: TestUser = {
  username: "bob",
  password: "battery-staple",
  htpasswd: "bob:$2y$05$zyxwvutsrqponmlkjihgfecLN3mxm15t/kvbtkW5EgnFrHMTuE.8m",
};

/** The content of a password file. */
export function htpasswdFile(users: readonly TestUser[]): string {
  return users.map(({ htpasswd }) => `${htpasswd}\n`).join("");
}

/** The value of an Authorization header. */
export function basicAuthorization({ username, password }: TestUser): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

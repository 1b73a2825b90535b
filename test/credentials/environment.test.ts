import { describe, expect, test } from "vitest";
import { credentialOwner, environmentCredential, hostVariable } from "../../src/credentials/environment.ts";
import { everythingSaid, failureOf } from "../registry-client/support.ts";

test.each([
  ["docker.io", "DOCKER_IO"],
  ["my-reg.example:5000", "MY__REG_EXAMPLE_5000"],
  ["[fc00::1]:5000", "_FC00__1__5000"],
])("the variables of %s end in %s", (host, name) => {
  expect(hostVariable(host)).toBe(name);
});

describe("half a credential is a mistake that is named", () => {
  test.each([
    [{ MIRROR_USERNAME: "s3cret-ada" }, "Cannot use MIRROR_USERNAME: MIRROR_PASSWORD is not set"],
    [{ MIRROR_PASSWORD: "s3cret-pw" }, "Cannot use MIRROR_PASSWORD: MIRROR_USERNAME is not set"],
    [
      { MIRROR_USERNAME_A_IO: "s3cret-ada", MIRROR_PASSWORD_A_IO: "" },
      "Cannot use MIRROR_USERNAME_A_IO: MIRROR_PASSWORD_A_IO is not set",
    ],
    [{ MIRROR_AUTH_A_IO: "s3cret-word" }, "Cannot use MIRROR_AUTH_A_IO: it is not user:password"],
    [{ MIRROR_AUTH_A_IO: ":s3cret-word" }, "Cannot use MIRROR_AUTH_A_IO: it is not user:password"],
    [{ MIRROR_AUTH_A_IO: "s3cret-ada:" }, "Cannot use MIRROR_AUTH_A_IO: it is not user:password"],
    [
      { MIRROR_USERNAME: "ada:s3cret-pw", MIRROR_PASSWORD: "pw" },
      "Cannot use MIRROR_USERNAME: a user name holds no colon",
    ],
  ])("%j", async (env, message) => {
    const error = await failureOf((async () => environmentCredential("a.io", env, true))());
    expect([error.code, error.message]).toEqual(["USAGE", message]);
    expect(error.hint).toBeDefined();
    expect(everythingSaid(error)).not.toContain("s3cret");
  });

  test("and none of another registry's business", () => {
    expect(
      environmentCredential("b.io", { MIRROR_AUTH_A_IO: "x", MIRROR_USERNAME: "x" }, false),
    ).toBeUndefined();
  });
});

describe("MIRROR_USERNAME belongs to", () => {
  const env = { MIRROR_USERNAME: "ada", MIRROR_PASSWORD: "s3cret-word" };

  test("the target, otherwise the only registry", () => {
    expect(credentialOwner(["a.io", "b.io"], "c.io", env)).toBe("c.io");
    expect(credentialOwner(["a.io", "a.io"], undefined, env)).toBe("a.io");
    expect(credentialOwner(["a.io", "b.io"], undefined, {})).toBeUndefined();
    expect(credentialOwner([], undefined, env)).toBeUndefined();
  });

  test("none of several, which are told by name", async () => {
    const error = await failureOf((async () => credentialOwner(["a.io", "b-c.io"], undefined, env))());
    expect(error.code).toBe("USAGE");
    expect(error.message).toMatch(/2 registries/);
    expect(error.hint).toContain("MIRROR_USERNAME_A_IO and MIRROR_PASSWORD_A_IO");
    expect(error.hint).toContain("MIRROR_USERNAME_B__C_IO and MIRROR_PASSWORD_B__C_IO");
    expect(everythingSaid(error)).not.toContain("s3cret");
  });
});

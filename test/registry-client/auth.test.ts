import { describe, expect, test } from "vitest";
import { tokenService } from "../registry/auth.ts";
import { everythingSaid, failureOf, logged } from "./support.ts";
import { connect, credential, image, start, tokenRequests, users } from "./with-auth.ts";

const basicHeader = `Basic ${Buffer.from("ada:s3cret:word").toString("base64")}`;

describe("Basic", () => {
  test("is answered with the password, colons and all, and never before it is asked for", async () => {
    await using registry = await start({ type: "basic", users });
    await using watched = connect(registry, { credential });
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    const [ping, head] = registry.requests;
    expect(ping?.headers.authorization).toBeUndefined();
    expect(head?.headers.authorization).toBe(basicHeader);
    expect(registry.requests).toHaveLength(2);
  });

  test("without a password fails at once, with the way out", async () => {
    await using registry = await start({ type: "basic", users });
    await using watched = connect(registry);
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain(registry.host);
    expect(error.hint).toContain("mirror login");
    expect(registry.requests).toHaveLength(2);
  });

  test("with a wrong password fails, names where it came from, and does not show it", async () => {
    await using registry = await start({ type: "basic", users });
    await using watched = connect(registry, { credential: { ...credential, password: "wr0ng-word" } });
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("config.json (key x)");
    expect(everythingSaid(error)).not.toContain("wr0ng-word");
    expect(registry.count("HEAD", /manifests/)).toBeLessThanOrEqual(2);
  });
});

describe("Bearer", () => {
  test("an anonymous token opens a public repository", async () => {
    await using registry = await start({ type: "bearer", users, anonymousPull: true });
    await using watched = connect(registry);
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    const [asked] = tokenRequests(registry);
    const query = new URLSearchParams(asked?.url.split("?")[1]);
    expect(asked?.method).toBe("GET");
    expect(asked?.headers.authorization).toBeUndefined();
    expect(query.get("service")).toBe(tokenService);
    expect(query.getAll("scope")).toEqual(["repository:a/b:pull"]);
  });

  test("a password goes to the token service as Basic, never in the query", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    await watched.repository("a/b").resolve("v1");
    const [asked] = tokenRequests(registry);
    expect(asked?.headers.authorization).toBe(basicHeader);
    expect(decodeURIComponent(asked?.url ?? "")).not.toContain("s3cret");
    expect(asked?.url).not.toContain("offline_token");
    const [head] = logged(registry, "HEAD", /manifests/);
    expect(head?.headers.authorization).toMatch(/^Bearer token-/);
  });

  test("an identity token is exchanged by POST", async () => {
    await using registry = await start({ type: "bearer", users, identityTokens: { "refresh-me": "ada" } });
    await using watched = connect(registry, { credential: { identityToken: "refresh-me", origin: "x" } });
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    const [asked] = tokenRequests(registry);
    expect(asked?.method).toBe("POST");
    expect(asked?.url).not.toContain("refresh-me");
    expect(asked?.headers["content-type"]).toBe("application/x-www-form-urlencoded");
  });

  test("a ready-made token is sent as it is", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential: { registryToken: "ready-made", origin: "x" } });
    expect((await failureOf(watched.repository("a/b").resolve("v1"))).code).toBe("AUTH");
    expect(logged(registry, "HEAD", /manifests/)[0]?.headers.authorization).toBe("Bearer ready-made");
    expect(tokenRequests(registry)).toEqual([]);
  });

  test("a refused password is named by its place only", async () => {
    await using registry = await start({ type: "bearer", users, anonymousPull: true });
    await using watched = connect(registry, { credential: { ...credential, password: "wr0ng-word" } });
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("config.json (key x)");
    expect(error.message).toContain("401");
    expect(everythingSaid(error)).not.toContain("wr0ng-word");
    // No silent anonymous try with a stale password beside it.
    expect(tokenRequests(registry)).toHaveLength(1);
  });

  test("a challenge that comes only with the first real request is answered too", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("status", { status: 200, beforeAuth: true, match: { path: /^\/v2\/$/ } });
    await using watched = connect(registry, { credential });
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(registry.count("HEAD", /manifests/)).toBe(2);
  });

  test("comes before Basic where both are offered, in whatever order", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.customFault("two challenges", {
      path: /^\/v2\//,
      transform: (reply) => {
        const bearer = reply.headers?.["www-authenticate"];
        if (typeof bearer !== "string") return undefined;
        return { ...reply, headers: { ...reply.headers, "www-authenticate": ['Basic realm="r"', bearer] } };
      },
    });
    await using watched = connect(registry, { credential });
    await watched.repository("a/b").resolve("v1");
    const [head] = logged(registry, "HEAD", /manifests/);
    expect(head?.headers.authorization).toMatch(/^Bearer /);
  });
});

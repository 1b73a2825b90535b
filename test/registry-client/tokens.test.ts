import { describe, expect, test } from "vitest";
import { tokenService } from "../registry/auth.ts";
import { errorReply, jsonReply } from "../registry/errors.ts";
import { blobSource, everythingSaid, failureOf } from "./support.ts";
import { connect, credential, image, start, tokenRequests, users } from "./with-auth.ts";

describe("tokens", () => {
  test("twenty requests at once need one", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    const repository = watched.repository("a/b");
    await Promise.all(Array.from({ length: 20 }, () => repository.resolve("v1")));
    expect(tokenRequests(registry)).toHaveLength(1);
    registry.expireTokens();
    await Promise.all(Array.from({ length: 20 }, () => repository.resolve("v1")));
    expect(tokenRequests(registry)).toHaveLength(2);
    watched.clock.advance(3_600_000);
    await Promise.all(Array.from({ length: 20 }, () => repository.resolve("v1")));
    expect(tokenRequests(registry)).toHaveLength(3);
  });

  test("belong to a repository", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    for (const name of ["a/b", "c", "a/b", "c"]) await watched.repository(name).resolve("v1");
    expect(
      tokenRequests(registry).map(({ url }) => new URLSearchParams(url.split("?")[1]).get("scope")),
    ).toEqual(["repository:a/b:pull", "repository:c:pull"]);
  });

  test("are renewed shortly before they end", async () => {
    await using registry = await start({ type: "bearer", users, tokenSeconds: 300 });
    await using watched = connect(registry, { credential });
    const repository = watched.repository("a/b");
    await repository.resolve("v1");
    watched.clock.advance(280_000);
    await repository.resolve("v1");
    expect(tokenRequests(registry)).toHaveLength(1);
    watched.clock.advance(15_000);
    await repository.resolve("v1");
    expect(tokenRequests(registry)).toHaveLength(2);
    expect(registry.requests.filter(({ status, path }) => status === 401 && path !== "/v2/")).toEqual([]);
  });

  test("that end early are renewed after the 401", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    const repository = watched.repository("a/b");
    await repository.resolve("v1");
    registry.expireTokens();
    expect((await repository.resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(watched.clock.sleeps).toEqual([]);
  });

  test("that are refused at once on a slow line say nothing of how long the others live", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    registry.customFault("slow", {
      path: /\/c\/manifests\//,
      intercept: ({ headers }) => {
        watched.clock.advance(1000);
        const { host } = tokenRequests(registry)[0]?.headers ?? {};
        const challenge = `Bearer realm="http://${host}/token",service="${tokenService}"`;
        if (headers.authorization === undefined) return undefined;
        return errorReply([{ code: "UNAUTHORIZED" }], { "www-authenticate": challenge });
      },
    });
    await failureOf(watched.repository("c").resolve("v1"));
    const { length } = tokenRequests(registry);
    const repository = watched.repository("a/b");
    await repository.resolve("v1");
    watched.clock.advance(30_000);
    await repository.resolve("v1");
    expect(tokenRequests(registry)).toHaveLength(length + 1);
  });

  test("that are refused for ever are renewed once", async () => {
    await using registry = await start({ type: "bearer", users });
    await using watched = connect(registry, { credential });
    const challenge = 'Bearer realm="/token",error="invalid_token"';
    registry.customFault("no token is good enough", {
      path: /\/manifests\//,
      intercept: () => errorReply([{ code: "UNAUTHORIZED" }], { "www-authenticate": challenge }),
    });
    registry.customFault(
      "token service of its own",
      {
        path: /^\/token$/,
        intercept: () => jsonReply(200, { token: "t0ken-of-no-use" }),
      },
      { beforeAuth: true },
    );
    const error = await failureOf(watched.repository("a/b").manifest("v1"));
    expect(error.code).toBe("AUTH");
    expect(everythingSaid(error)).not.toMatch(/t0ken-of-no-use|s3cret/);
    expect(registry.count("GET", /manifests/)).toBe(2);
    expect(registry.count("GET", /^\/token/)).toBe(2);
  });

  test.each([[0], [-1], ["300"], [null], ["soon"], [undefined]])(
    "live 60 s at least: expires_in %j",
    async (life) => {
      await using registry = await start({ type: "bearer", users });
      registry.customFault("life", {
        path: /^\/token$/,
        transform: (reply) => {
          const { token } = JSON.parse(Buffer.concat(reply.body ?? []).toString()) as { token: string };
          return jsonReply(200, { access_token: token, expires_in: life });
        },
      });
      await using watched = connect(registry, { credential });
      const repository = watched.repository("a/b");
      await repository.resolve("v1");
      watched.clock.advance(49_000);
      await repository.resolve("v1");
      expect(tokenRequests(registry)).toHaveLength(1);
      watched.clock.advance(12_000);
      await repository.resolve("v1");
      expect(tokenRequests(registry)).toHaveLength(life === "300" ? 1 : 2);
    },
  );

  test.each([
    ["{}"],
    ['{"token":""}'],
    ['{"token":{}}'],
    ["[]"],
    ["<html>log in first</html>"],
    [`{"pad":"${"x".repeat(10_000_000)}","token":"t"}`],
  ])("an answer without one fails: %.30s", async (body) => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("status", { status: 200, body, match: { path: /^\/token$/ } });
    await using watched = connect(registry, { credential });
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.code).toBe("AUTH");
    expect(error.message).toContain("no token");
    expect(everythingSaid(error).length).toBeLessThan(1000);
  });

  test("a token service that fails for a moment is asked again, when it says so", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("rate-limit", { retryAfter: "9", times: 1, match: { path: /^\/token$/ } });
    registry.fault("status", { status: 502, times: 1, match: { path: /^\/token$/ } });
    await using watched = connect(registry, { credential });
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(watched.retries).toHaveLength(2);
    expect(Math.max(...watched.clock.sleeps)).toBeGreaterThanOrEqual(9000);
  });

  test("what a token service says is not repeated where it quotes the secret", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.fault("status", {
      status: 400,
      body: "unknown refresh-me-secret",
      match: { path: /^\/token$/ },
    });
    await using watched = connect(registry, {
      credential: { identityToken: "refresh-me-secret", origin: "x" },
    });
    const error = await failureOf(watched.repository("a/b").resolve("v1"));
    expect(error.message).toContain("400");
    expect(everythingSaid(error)).not.toContain("refresh-me-secret");
  });
});

test("a token service that repeats the request in its error page has no secret shown", async () => {
  await using registry = await start({ type: "bearer", users });
  registry.customFault("repeats the request", {
    path: /^\/token$/,
    intercept: ({ headers }) => jsonReply(400, { you_sent: headers.authorization }),
  });
  await using watched = connect(registry, { credential });
  const error = await failureOf(watched.repository("a/b").resolve("v1"));
  expect(error.message).toContain("you_sent");
  expect(everythingSaid(error)).not.toContain(Buffer.from("ada:s3cret:word").toString("base64"));
});

describe("scopes", () => {
  test("a token that was given too little is widened once to what the registry demands", async () => {
    await using registry = await start({ type: "bearer", users });
    registry.customFault("demands delete as well", {
      path: /\/manifests\//,
      intercept: ({ headers }) => {
        if (wide.has(headers.authorization ?? "")) return undefined;
        const scope = 'scope="repository:a/b:delete,pull",error="insufficient_scope"';
        const [token] = tokenRequests(registry);
        const realm = `http://${token?.headers.host}/token`;
        return errorReply([{ code: "UNAUTHORIZED" }], {
          "www-authenticate": `Bearer realm="${realm}",service="${tokenService}",${scope}`,
        });
      },
    });
    const wide = new Set<string>();
    registry.customFault("notes wide tokens", {
      path: /^\/token$/,
      transform: (reply) => {
        const asked = registry.requests.at(-1)?.url ?? "";
        const { token } = JSON.parse(Buffer.concat(reply.body ?? []).toString()) as { token: string };
        if (decodeURIComponent(asked).includes("repository:a/b:delete,pull")) wide.add(`Bearer ${token}`);
        return undefined;
      },
    });
    await using watched = connect(registry, { credential });
    expect((await watched.repository("a/b").resolve("v1")).digest).toBe(image.descriptor.digest);
    expect(tokenRequests(registry)).toHaveLength(2);
  });

  test("a right that the user lacks fails, without a loop", async () => {
    const rights = (): readonly string[] => ["pull"];
    await using registry = await start({ type: "bearer", users, rights });
    await using watched = connect(registry, { credential });
    const manifest = blobSource(image.manifest, { descriptor: image.descriptor, isManifest: true });
    const error = await failureOf(watched.repository("a/b").tag(manifest, "v2"));
    expect(error.code).toBe("DENIED");
    expect(error.message).toContain("no push access");
    expect(registry.count("PUT", /manifests/)).toBe(2);
    expect(tokenRequests(registry).length).toBeLessThanOrEqual(2);
  });

  test("a registry with other names for its repositories gets uploads too, whose streams have no second try", async () => {
    await using registry = await start({ type: "bearer", users });
    const asked = (url: string): string => decodeURIComponent(url).replaceAll("+", " ");
    const good = new Set<string>();
    registry.customFault("notes tokens for its own name", {
      path: /^\/token$/,
      transform: (reply) => {
        const { token } = JSON.parse(Buffer.concat(reply.body ?? []).toString()) as { token: string };
        const url = tokenRequests(registry).at(-1)?.url ?? "";
        if (asked(url).includes("repository:0/a/b:pull,push")) good.add(`Bearer ${token}`);
        return undefined;
      },
    });
    registry.customFault("demands its own name", {
      path: /\/blobs\//,
      intercept: ({ headers }) => {
        if (good.has(headers.authorization ?? "")) return undefined;
        const realm = `http://${tokenRequests(registry)[0]?.headers.host}/token`;
        const scope = 'scope="repository:0/a/b:pull,push"';
        return errorReply([{ code: "UNAUTHORIZED" }], {
          "www-authenticate": `Bearer realm="${realm}",service="${tokenService}",${scope}`,
        });
      },
    });
    const wanted: (string | undefined)[] = [];
    await using watched = connect(registry, {
      credential: async (repository) => {
        wanted.push(repository);
        return credential;
      },
    });
    await watched.repository("a/b").push(blobSource(Buffer.from("x".repeat(1000))));
    await watched.repository("a/b").push(blobSource(Buffer.from("y".repeat(1000))));
    expect(tokenRequests(registry)).toHaveLength(2);
    // The credential is that of the repository that was asked for, whatever the registry calls it.
    expect(new Set(wanted)).toEqual(new Set(["a/b"]));
  });
});

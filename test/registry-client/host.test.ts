import { writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { isListedInsecure } from "../../src/registry/docker-daemon.ts";
import { connectHost, hostName, isLoopbackHost, isPrivateAddress } from "../../src/registry/host.ts";
import { AddressGuard } from "../../src/registry/net/guard.ts";
import { mergeScopes } from "../../src/registry/scopes.ts";
import { tempDir } from "../support/temp.ts";

test("Docker Hub answers under another name", () => {
  expect(connectHost("docker.io")).toBe("registry-1.docker.io");
  expect(connectHost("ghcr.io")).toBe("ghcr.io");
});

test.each([
  ["host", "host"],
  ["host:5000", "host"],
  ["[::1]:5000", "::1"],
  ["[::1]", "::1"],
  ["10.0.0.1:32000", "10.0.0.1"],
])("%s is the host %s", (host, name) => {
  expect(hostName(host)).toBe(name);
});

/** True if a registry out in the world may lead to this host. */
const allowed = (host: string): boolean => new AddressGuard("registry.example").allows(host);

describe("kinds of hosts", () => {
  test.each([
    "localhost",
    "localhost:5000",
    "LOCALHOST",
    "localhost.",
    "a.localhost:1",
    "127.0.0.1",
    "127.9.9.9:1",
    "[::1]:5000",
  ])("%s is this machine", (host) => {
    expect(isLoopbackHost(host)).toBe(true);
    expect(allowed(host)).toBe(false);
  });

  test.each(["10.141.241.175:32000", "172.16.0.1", "172.31.255.255", "192.168.0.1:5000", "[fd00::1]:5000"])(
    "%s is a private network",
    (host) => {
      expect(isPrivateAddress(host)).toBe(true);
      expect(isLoopbackHost(host)).toBe(false);
      expect(allowed(host)).toBe(false);
    },
  );

  test.each(["169.254.169.254", "[fe80::1]", "0.0.0.0:5000", "[::]:5000"])(
    "%s leads nowhere but here",
    (host) => {
      expect(allowed(host)).toBe(false);
      expect(isPrivateAddress(host)).toBe(false);
    },
  );

  test.each([
    "172.32.0.1",
    "11.0.0.1",
    "192.169.0.1",
    "8.8.8.8",
    "[2001:db8::1]",
    "notlocalhost",
    "localhost.example",
    "10.0.0.1.example",
    "127.0.0.1.nip.io",
  ])("%s is the world", (host) => {
    expect(isLoopbackHost(host)).toBe(false);
    expect(isPrivateAddress(host)).toBe(false);
    expect(allowed(host)).toBe(true);
  });
});

describe("Docker's insecure registries", () => {
  const listed = async (host: string, text: string): Promise<boolean> => {
    await using folder = await tempDir();
    await writeFile(folder.join("daemon.json"), text);
    return await isListedInsecure(host, folder.join("daemon.json"));
  };
  const entries = (...list: readonly string[]): string => JSON.stringify({ "insecure-registries": list });

  test.each([
    ["registry.lan:5000", "registry.lan:5000"],
    ["10.1.2.3:5000", "10.1.0.0/16"],
    ["10.1.2.3", "10.1.2.3/32"],
    ["10.1.2.3", "0.0.0.0/0"],
    ["[fd00::5]:5000", "fd00::/8"],
  ])("%s is listed by %s", async (host, entry) => {
    expect(await listed(host, entries("other", entry))).toBe(true);
  });

  test.each([
    ["registry.lan:5000", "registry.lan"],
    ["registry.lan", "registry.lan:5000"],
    ["10.2.0.1:5000", "10.1.0.0/16"],
    ["10.1.2.3", "10.1.0.0/33"],
    ["10.1.2.3", "10.1.0.0/x"],
    ["10.1.2.3", "/8"],
    ["10.1.2.3", "fd00::/8"],
    ["registry.lan", "0.0.0.0/0"],
  ])("%s is not listed by %s", async (host, entry) => {
    expect(await listed(host, entries(entry))).toBe(false);
  });

  test.each(["", "{", "[]", '{"insecure-registries":"x"}', '{"insecure-registries":[5]}', "{}"])(
    "a file that says nothing of use lists nothing: %s",
    async (text) => {
      expect(await listed("x", text)).toBe(false);
    },
  );

  test("no file lists nothing", async () => {
    await using folder = await tempDir();
    expect(await isListedInsecure("x", folder.join("none.json"))).toBe(false);
  });
});

describe("a registry leads to its own kind of addresses", () => {
  test.each([
    ["10.0.0.1:5000", "10.0.0.2:9000", true],
    ["10.0.0.1:5000", "127.0.0.1", false],
    ["10.0.0.1:5000", "10.0.0.1:9000", true],
    ["10.0.0.1:5000", "169.254.169.254", false],
    ["10.0.0.1:5000", "[fd00:ec2::254]", false],
    ["10.0.0.1:5000", "100.100.100.200", false],
    ["localhost:5000", "127.0.0.1:9000", true],
    ["localhost:5000", "10.0.0.1", true],
    ["127.0.0.1:5000", "169.254.169.254", false],
    ["registry.example", "storage.example", true],
  ])("%s to %s: %s", (registry, host, expected) => {
    expect(new AddressGuard(registry).allows(host)).toBe(expected);
  });

  test("a name is judged by the address at which it was reached", () => {
    const guard = new AddressGuard("registry.corp:5000");
    expect(guard.allows("10.0.0.2:9000")).toBe(false);
    guard.learn("10.0.0.1");
    expect(guard.allows("10.0.0.2:9000")).toBe(true);
    expect(guard.allows("127.0.0.1:9000")).toBe(false);
  });
});

test("scopes are merged by resource, so that equal rights are equal lists", () => {
  expect(mergeScopes(["repository:b:push,pull", "repository:a/b:pull", "repository:b:delete,pull"])).toEqual([
    "repository:a/b:pull",
    "repository:b:delete,pull,push",
  ]);
  expect(mergeScopes(["repository:host:5000/a:pull", "aws", "registry:catalog:*"])).toEqual([
    "aws",
    "registry:catalog:*",
    "repository:host:5000/a:pull",
  ]);
});

import { describe, expect, it } from "vitest";
import { parseRegistryHost, parseTargetName } from "../../src/list/target-name.ts";

const thrown = (fields: Record<string, unknown>): unknown =>
  expect.objectContaining({ code: "REFERENCE", ...fields });

describe("parseTargetName", () => {
  it.each([
    ["nginx", { repository: "nginx" }],
    ["k8s/pause:3.10", { repository: "k8s/pause", tag: "3.10" }],
    ["a.b", { repository: "a.b" }],
    ["a.b:1", { repository: "a.b", tag: "1" }],
    ["team/a.b/c", { repository: "team/a.b/c" }],
  ])("reads %s", (text, name) => expect(parseTargetName(text)).toEqual(name));

  it.each([
    ["docker.io/library/nginx", "leave the host out; --registry names the registry to push to"],
    ["registry:5000/nginx", "leave the host out; --registry names the registry to push to"],
    ["localhost/nginx:1", "leave the host out; --registry names the registry to push to"],
    ["https://a.io/b", "write repository[:tag]"],
    [`a@sha256:${"0".repeat(64)}`, "write repository[:tag]; the content decides the digest"],
    ["Team/App", "write team/app"],
    ["", "write repository[:tag] like team/app:1.0"],
    ["a:", "write repository[:tag] like team/app:1.0"],
    ["a:b:c", "write repository[:tag] like team/app:1.0"],
    ["a/../b", "write repository[:tag] like team/app:1.0"],
    ["/a", "write repository[:tag] like team/app:1.0"],
    ["r".repeat(256), "write repository[:tag] like team/app:1.0"],
  ])("refuses %j", (text, hint) => expect(() => parseTargetName(text)).toThrow(thrown({ hint })));
});

describe("parseRegistryHost", () => {
  it.each([
    ["index.docker.io", "docker.io"],
    ["registry-1.docker.io", "docker.io"],
    ["docker.io", "docker.io"],
    ["registry.internal:5000", "registry.internal:5000"],
    ["localhost", "localhost"],
    ["registry", "registry"],
    ["[::1]:5000", "[::1]:5000"],
  ])("%s is %s", (text, host) => expect(parseRegistryHost(text)).toBe(host));

  it.each(["", "https://a.io", "a.io/team", "a.io:0", "a_b.io", "a.io:99999"])("refuses %j", (text) => {
    expect(() => parseRegistryHost(text)).toThrow(thrown({}));
  });
});

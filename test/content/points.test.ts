import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect, test } from "vitest";
import { reached } from "../../src/content/points.ts";

test("a point is told to those who listen, and to nobody otherwise", () => {
  const heard: unknown[] = [];
  const listen = (message: unknown): void => void heard.push(message);
  reached("nobody:listens");
  subscribe("mirror:point", listen);
  reached("somebody:listens");
  unsubscribe("mirror:point", listen);
  reached("nobody:listens");
  expect(heard).toEqual([{ name: "somebody:listens" }]);
});

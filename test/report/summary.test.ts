import { describe, expect, it } from "vitest";
import { formatFailed, formatSummary } from "../../src/report/summary.ts";
import { MiB, totals } from "./events.ts";

describe("formatSummary", () => {
  it("says what was done, what it cost and what was saved", () => {
    const figures = totals({
      images: 3,
      unchangedImages: 1,
      failedImages: 1,
      blobs: 24,
      bytesMoved: 1240 * MiB,
      seconds: 12.4,
      blobsSkipped: 3,
      bytesSkipped: 12 * MiB,
      blobsMounted: 2,
      bytesMounted: 3 * MiB,
      blobsReused: 1,
      bytesReused: 512,
    });
    expect(formatSummary(figures, "", "pull").split("\n")).toEqual([
      "pulled 2 of 3 images (1 unchanged, 1 failed)",
      "  24 blobs moved (1.2 GiB) in 12.4 s, 100.0 MiB/s",
      "  skipped 3 (12.0 MiB), mounted 2 (3.0 MiB), reused 1 (512 B)",
    ]);
  });

  it("leaves out what is zero", () => {
    const figures = totals({ images: 1, blobs: 1, bytesMoved: MiB, seconds: 2 });
    expect(formatSummary(figures, "pulled 1 image into a.tar", "pull")).toBe(
      "pulled 1 image into a.tar\n  1 blob moved (1.0 MiB) in 2 s, 512.0 KiB/s",
    );
  });

  it("says that nothing had to move", () => {
    const figures = totals({
      images: 2,
      unchangedImages: 2,
      blobsSkipped: 9,
      bytesSkipped: MiB,
      seconds: 0.4,
    });
    expect(formatSummary(figures, "", "sync")).toBe(
      "synced 2 images (2 unchanged)\n  nothing had to move in 0.4 s\n  skipped 9 (1.0 MiB)",
    );
  });

  it("is one line for a run that moves nothing by nature", () => {
    expect(formatSummary(totals({ images: 2, seconds: 3 }), "", "verify")).toBe("verified 2 images in 3 s");
  });

  it("gives no rate for no time, and escapes the headline", () => {
    expect(formatSummary(totals({ blobs: 2, bytesMoved: 5 }), "pulled \x1b[2J", "pull")).toBe(
      "pulled \\x1B[2J\n  2 blobs moved (5 B) in 0 s",
    );
  });
});

describe("the list of the images that failed", () => {
  const many = Array.from({ length: 11 }, (_, index) => ({ image: `docker.io/library/app-${index}:1.0` }));
  const failed = (image: string, message: string) => ({ image, error: { message } });

  it("names each with its reason, and neither the image twice nor a digest in full", () => {
    const images = [
      ...many,
      failed("quay.io/a/b:1", "Cannot find quay.io/a/b:1: the repository has no such tag"),
      failed("quay.io/a/long:1", `Cannot read sha256:${"0123456789abcdef".repeat(4)}: it broke\nand more`),
    ];
    expect(formatFailed(images)).toBe(
      [
        "2 images failed:",
        " quay.io/a/b:1     the repository has no such tag",
        " quay.io/a/long:1  Cannot read sha256:0123456789ab…: it broke",
      ].join("\n"),
    );
  });

  it("is left out where all is still in sight, and where none failed", () => {
    expect(formatFailed([failed("a", "b")])).toBe("");
    expect(formatFailed(many)).toBe("");
  });
});

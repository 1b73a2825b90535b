/** Test images, indexes and artifacts: deterministic, and real enough for Docker and containerd to unpack. */
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { mediaTypes } from "../../src/oci/media-types.ts";
import { type Platform, parsePlatform } from "../../src/oci/platform.ts";
import type { TestRegistry } from "../registry/registry.ts";
import { blobOf, type Flavour, layerOf, makeRandomLayer, type TestBlob, type TestLayer } from "./layers.ts";

/** An image or an artifact: one manifest with the blobs it leads to. */
export interface TestImage {
  readonly kind: "image";
  /** Of the manifest, with the platform where there is one. */
  readonly descriptor: Descriptor;
  readonly manifest: Buffer;
  readonly config: TestBlob;
  readonly layers: readonly (TestBlob & Partial<Pick<TestLayer, "diffId">>)[];
}

/** An index with its children. */
export interface TestIndex {
  readonly kind: "index";
  readonly descriptor: Descriptor;
  readonly manifest: Buffer;
  readonly children: readonly (TestImage | TestIndex)[];
}

export interface ImageOptions {
  /** `linux/amd64` if left out. */
  readonly platform?: string;
  /** Layers as they are, gzip'd tars, or sizes of layers to make (bytes). One layer of 1000 bytes if left out. */
  readonly layers?: readonly (TestLayer | Buffer | number)[];
  /** Tells images apart that are the same otherwise; goes into the config and into layers that are made. */
  readonly seed?: string;
  /** `oci` if left out. */
  readonly mediaTypes?: Flavour;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The manifest that this one is about (signatures, attestations). */
  readonly subject?: Descriptor;
}

/** Makes an image. */
export async function makeImage(options: ImageOptions = {}): Promise<TestImage> {
  const { seed = "image", mediaTypes: flavour = "oci", annotations, subject } = options;
  const platform = parsePlatform(options.platform ?? "linux/amd64");
  const layers: TestLayer[] = [];
  for (const [index, layer] of (options.layers ?? [1000]).entries()) {
    if (typeof layer === "number") layers.push(await makeRandomLayer(`${seed}/${index}`, layer, flavour));
    else layers.push("diffId" in layer ? layer : layerOf(layer, flavour));
  }
  const configType = flavour === "oci" ? mediaTypes.ociConfig : mediaTypes.dockerConfig;
  const config = blobOf(jsonBytes(imageConfig(platform, seed, layers)), configType);
  return assemble({ config, layers, annotations, subject }, flavour, platform);
}

/**
 * Makes an index over images and other indexes. `attestations` adds BuildKit's `unknown/unknown` child for each
 * image; false if left out.
 */
export function makeIndex(
  children: readonly (TestImage | TestIndex)[],
  options: { readonly mediaTypes?: Flavour; readonly attestations?: boolean; readonly seed?: string } = {},
): TestIndex {
  const attestations =
    options.attestations === true
      ? children.flatMap((child) => (child.kind === "image" ? [makeAttestation(child)] : []))
      : [];
  const all = [...children, ...attestations];
  const mediaType = options.mediaTypes === "docker" ? mediaTypes.dockerList : mediaTypes.ociIndex;
  const { bytes, descriptor } = blobOf(
    jsonBytes({
      schemaVersion: 2,
      mediaType,
      manifests: all.map((child) => child.descriptor),
      annotations: options.seed === undefined ? undefined : { "test.seed": options.seed },
    }),
    mediaType,
  );
  return { kind: "index", descriptor, manifest: bytes, children: all };
}

/** Makes an OCI artifact, a Helm chart for example: a config of any type, and files as layers of any type. */
export function makeArtifact(options: {
  readonly configType: string;
  readonly config: string;
  readonly files: readonly { readonly mediaType: string; readonly bytes: Buffer }[];
  readonly artifactType?: string;
  readonly subject?: Descriptor;
}): TestImage {
  const { artifactType, subject } = options;
  const config = blobOf(Buffer.from(options.config), options.configType);
  const layers = options.files.map(({ bytes, mediaType }) => blobOf(bytes, mediaType));
  return assemble({ config, layers, artifactType, subject }, "oci");
}

/** Puts an image or an index with everything below it into a registry; `tag` may be left undefined. */
export function seed(
  registry: TestRegistry,
  repository: string,
  tag: string | undefined,
  content: TestImage | TestIndex,
): void {
  if (content.kind === "image") {
    for (const blob of [content.config, ...content.layers]) registry.putBlob(repository, blob.bytes);
  } else {
    for (const child of content.children) seed(registry, repository, undefined, child);
  }
  registry.putManifest(repository, tag, content.manifest, content.descriptor.mediaType);
}

interface Parts {
  readonly config: TestBlob;
  readonly layers: TestImage["layers"];
  readonly artifactType?: string | undefined;
  readonly subject?: Descriptor | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

function assemble(parts: Parts, flavour: Flavour, platform?: Platform): TestImage {
  const { config, layers, artifactType, subject, annotations } = parts;
  const mediaType = flavour === "oci" ? mediaTypes.ociManifest : mediaTypes.dockerManifest;
  const { bytes, descriptor } = blobOf(
    jsonBytes({
      schemaVersion: 2,
      mediaType,
      artifactType,
      config: config.descriptor,
      layers: layers.map((layer) => layer.descriptor),
      subject,
      annotations,
    }),
    mediaType,
  );
  const described = platform === undefined ? descriptor : { ...descriptor, platform };
  return { kind: "image", descriptor: described, manifest: bytes, config, layers };
}

function makeAttestation(image: TestImage): TestImage {
  const statement = blobOf(
    jsonBytes({ _type: "https://in-toto.io/Statement/v0.1", subject: [{ digest: image.descriptor.digest }] }),
    "application/vnd.in-toto+json",
  );
  const platform = { os: "unknown", architecture: "unknown" };
  const config = blobOf(
    jsonBytes({
      ...platform,
      config: {},
      rootfs: { type: "layers", diff_ids: [statement.descriptor.digest] },
    }),
    mediaTypes.ociConfig,
  );
  const attestation = assemble({ config, layers: [statement] }, "oci", platform);
  const annotations = {
    "vnd.docker.reference.digest": image.descriptor.digest,
    "vnd.docker.reference.type": "attestation-manifest",
  };
  return { ...attestation, descriptor: { ...attestation.descriptor, annotations } };
}

function imageConfig(platform: Platform, label: string, layers: readonly TestLayer[]): object {
  const created = "1970-01-01T00:00:00Z";
  return {
    created,
    ...platform,
    config: { Cmd: ["/bin/true"], Labels: { "test.seed": label } },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((_, index) => ({ created, created_by: `layer ${index}` })),
  };
}

function jsonBytes(value: object): Buffer {
  return Buffer.from(JSON.stringify(value, undefined, 2));
}

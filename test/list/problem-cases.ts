/** Lists with one problem each: the text, the message behind `l.yaml:`, and the hint if it is a special one. */

/** A list in which only the images are of interest; they begin in line 3. */
export const images = (...lines: readonly string[]): string =>
  ["version: 1", "images:", ...lines, ""].join("\n");

export interface ProblemCase {
  readonly what: string;
  readonly text: string;
  readonly message: string;
  readonly hint?: string;
}

export const problemCases: readonly ProblemCase[] = [
  {
    what: "a bad reference",
    text: images("  - Nginx"),
    message: '3:5: Cannot read image reference "Nginx": the repository must be lower case',
    hint: "write nginx",
  },
  {
    what: "a bad reference in a mapping",
    text: images("  - image: https://a.io/b"),
    message: '3:12: Cannot read image reference "https://a.io/b": it begins with https://',
    hint: "leave https:// out",
  },
  {
    what: "a bad platform",
    text: images("  - {image: a, platforms: [linux/amd64, linux]}"),
    message: '3:41: Cannot read platform "linux": expected os/architecture[/variant]',
    hint: "write it like linux/amd64 or linux/arm/v7",
  },
  {
    what: "a bad default platform",
    text: "version: 1\ndefaults:\n  platforms:\n    - arm\nimages: [a]",
    message: '4:7: Cannot read platform "arm": expected os/architecture[/variant]',
    hint: "write it like linux/amd64 or linux/arm/v7",
  },
  {
    what: "one platform that is no list",
    text: images("  - image: a", "    platforms: linux/amd64"),
    message: '4:16: platforms: expected a list such as [linux/amd64, linux/arm64], got "linux/amd64"',
  },
  {
    what: "a mistyped key of an image",
    text: images("  - image: a", "    platfroms: []"),
    message: '4:5: "platfroms" is not a key of an image',
    hint: "write platforms",
  },
  {
    what: "a password without a user name",
    text: "version: 1\nregistries:\n  a.io:\n    password: s3cret\nimages: [a]",
    message: "4:15: password has no username beside it",
    hint: "write username too",
  },
  {
    what: "a user name without a password",
    text: "version: 1\nregistries:\n  a.io:\n    username: ada\nimages: [a]",
    message: "4:15: username has no password beside it",
    hint: "write passwordFile, passwordVariable or password too",
  },
  {
    what: "two passwords",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, password: s3cret, passwordFile: f}\nimages: [a]",
    message: "4:53: passwordFile stands beside password, and there is one password",
    hint: "keep one of them",
  },
  {
    what: "a user name that holds the password",
    text: "version: 1\nregistries:\n  a.io:\n    {username: 'ada:s3cret', password: x}\nimages: [a]",
    message: "4:16: a user name holds no colon",
    hint: "write the password under a key of its own",
  },
  {
    what: "a password that is a number",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, password: 123456}\nimages: [a]",
    message: "4:31: password: expected a password, got a number",
    hint: "put it in quotes",
  },
  {
    what: "an empty password",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, password: ''}\nimages: [a]",
    message: "4:31: password: expected a password, got nothing",
  },
  {
    what: "a variable that is none",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, passwordVariable: $s3cret-word}\nimages: [a]",
    message:
      "4:39: passwordVariable: expected the name of an environment variable, got a text that is not shown",
  },
  {
    what: "a password that YAML takes for a tag",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, password: !s3cret}\nimages: [a]",
    message: "4:31: a value that begins with ! is a tag in YAML: put it in quotes",
  },
  {
    what: "a password that YAML takes for an alias",
    text: "version: 1\nregistries:\n  a.io:\n    {username: ada, password: *s3cret}\nimages: [a]",
    message: "4:31: a value that begins with * is an alias in YAML: put it in quotes",
  },
  {
    what: "a login in the place of settings",
    text: "version: 1\nregistries:\n  a.io: ada:s3cret\nimages: [a]",
    message:
      "3:9: a.io: expected the settings of a registry, such as {plainHttp: true}, got a text that is not shown",
  },
  {
    what: "a mistyped key of a registry",
    text: "version: 1\nregistries:\n  a.io:\n    plain-http: true\nimages: [a]",
    message: '4:5: "plain-http" is not a key of a registry',
    hint: "write plainHttp",
  },
  {
    what: "a key like no other",
    text: images("  - image: a", "    zzz: 1"),
    message: '4:5: "zzz" is not a key of an image',
    hint: "its keys are image, platforms, as",
  },
  {
    what: "a wrong key that means a right one",
    text: images("  - image: a", "    images: b"),
    message: '4:5: "images" is not a key of an image',
    hint: "image is there already",
  },
  {
    what: "tags, which are for later",
    text: images("  - image: a", '    tags: {semver: ">=1"}'),
    message:
      "4:5: tags is reserved for a later version, which will select tags by pattern: for now, list the tags one by one",
  },
  { what: "no version", text: "images: [a]", message: "1:1: version is missing: expected 1" },
  {
    what: "a version as text",
    text: 'version: "1"\nimages: [a]',
    message: '1:10: version: expected 1, got "1"',
  },
  {
    what: "a later version, and nothing else of it",
    text: "version: 2\nfuture: x\nimages: Bad",
    message: "1:10: version 2 of the list format is not known: this program reads version 1",
    hint: "write version: 1, or use a newer mirror",
  },
  { what: "no images key", text: "version: 1", message: "1:1: images is missing: expected a list of images" },
  { what: "no images", text: "version: 1\nimages: []", message: "2:9: the list has no images" },
  {
    what: "nothing behind images",
    text: "version: 1\nimages:\n",
    message: "2:1: expected a list of images, got nothing",
  },
  {
    what: "images as a mapping",
    text: "version: 1\nimages:\n  nginx: 1",
    message: "3:3: expected a list of images, got a mapping",
  },
  {
    what: "an empty item",
    text: images("  - a", "  -"),
    message: '4:4: expected an image reference or a mapping with "image", got nothing',
  },
  {
    what: "a number as an image",
    text: images("  - 1.10"),
    message: '3:5: expected an image reference or a mapping with "image", got 1.1',
  },
  {
    what: "a space behind the colon",
    text: images("  - nginx: 1.27"),
    message: '3:5: expected an image reference, got a mapping with "nginx"',
    hint: "write nginx:1.27, without the space",
  },
  {
    what: "a colon at the end",
    text: images("  - nginx:"),
    message: '3:5: expected an image reference, got a mapping with "nginx"',
    hint: "leave the colon out, or put a tag behind it",
  },
  {
    what: "lines that are not indented alike",
    text: images("  - a", "    - b"),
    message: '3:5: Cannot read image reference "a - b": "library/a - b" is not a repository name',
    hint: "check that the lines of the list are indented alike",
  },
  {
    what: "a number as a name",
    text: images("  - image: a", "    as: 1.10"),
    message: "4:9: as: expected repository[:tag], got 1.1",
    hint: "put it in quotes",
  },
  {
    what: "a host in a name",
    text: images("  - image: a", "    as: b.io/c:1"),
    message: '4:9: Cannot read target name "b.io/c:1": "b.io" is a host',
    hint: "leave the host out; --registry names the registry to push to",
  },
  {
    what: "concurrency out of range",
    text: "version: 1\nregistries: {a.io: {concurrency: 65}}\nimages: [a]",
    message: "2:34: concurrency: expected a whole number from 1 to 64, got 65",
  },
  {
    what: "a fraction as concurrency",
    text: "version: 1\nregistries: {a.io: {concurrency: 1.5}}\nimages: [a]",
    message: "2:34: concurrency: expected a whole number from 1 to 64, got 1.5",
  },
  {
    what: "yes for true",
    text: "version: 1\nregistries: {a.io: {insecure: yes}}\nimages: [a]",
    message: '2:31: insecure: expected true or false, got "yes"',
  },
  {
    what: "a size without a unit we know",
    text: "version: 1\nregistries: {a.io: {chunkSize: 5M}}\nimages: [a]",
    message: '2:32: chunkSize: expected a size such as 16MiB or 90MB, or a number of bytes, got "5M"',
  },
  {
    what: "a size that is too small",
    text: "version: 1\nregistries: {a.io: {chunkSize: 5kB}}\nimages: [a]",
    message: '2:32: Cannot use chunkSize "5kB": expected a size from 64KiB to 1024GiB',
  },
  {
    what: "a number of bytes that is too small",
    text: "version: 1\nregistries: {a.io: {chunkSize: 5}}\nimages: [a]",
    message: "2:32: chunkSize: expected a size from 64KiB to 1024GiB, got 5",
  },
  {
    what: "an empty caFile",
    text: "version: 1\nregistries: {a.io: {caFile: ''}}\nimages: [a]",
    message: '2:29: caFile: expected the path of a PEM file, got ""',
  },
  {
    what: "a registry with a scheme",
    text: "version: 1\nregistries:\n  https://a.io: {}\nimages: [a]",
    message: '3:3: Cannot read registry "https://a.io": it is not host[:port]',
    hint: "write it like registry.internal:5000, without https:// and without a path",
  },
  {
    what: "a registry that contradicts itself",
    text: "version: 1\nregistries:\n  docker.io: {concurrency: 4}\n  index.docker.io: {concurrency: 5}\nimages: [a]",
    message: "4:21: concurrency of docker.io is 5 here and 4 at l.yaml:3:15",
    hint: "keep one of them",
  },
  {
    what: "a key that is there twice",
    text: "version: 1\nimages: [a]\nimages: [b]",
    message: '3:1: the key "images" is there twice',
  },
  {
    what: "a tab",
    text: "version: 1\nimages:\n\t- a",
    message: "3:1: indented with a tab: YAML is indented with spaces",
  },
  {
    what: "a second document",
    text: "version: 1\nimages: [a]\n---\nversion: 1",
    message: "3:1: a second YAML document begins here: a list is one document",
  },
  {
    what: "a tag of YAML",
    text: "version: 1\nimages: !secret [a]",
    message: "2:9: a value that begins with ! is a tag in YAML: put it in quotes",
  },
  {
    what: "a quote that does not end",
    text: 'version: 1\nimages: ["a]\n',
    message: '3:1: not valid YAML: Missing closing "quote',
  },
  {
    what: "an alias of nothing",
    text: "version: 1\nimages: [&a a, *a, *b]",
    message: "2:20: there is no anchor &b for the alias *b",
  },
  {
    what: "an alias of itself",
    text: "version: 1\nimages: &a [*a]",
    message: '2:13: expected an image reference or a mapping with "image", got a list',
  },
];

/** What keeps a file of credentials from being used, in words. */

const states: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "no space left on the disk",
  EISDIR: "it is a folder",
};

/** The state of a file by the system's code, in words where there are some, and with the code. */
export function fileState(code: string | undefined, otherwise: string): string {
  const words = states[code ?? ""];
  if (words === undefined) return code ?? otherwise;
  return code === "ENOENT" ? words : `${words} (${code})`;
}

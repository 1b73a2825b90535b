/** The header `Link` (RFC 8288), as registries write it. */

/**
 * The target of the link whose relation is `next`, as it is written. URLs may hold commas and semicolons, so they are
 * told by their angle brackets; old Quay leaves those out (heroku/docker-registry-client#11), and is understood if
 * there is one link only.
 */
export function nextLink(header: string | readonly string[] | undefined): string | undefined {
  const lines = [header ?? []].flat();
  for (const line of lines) {
    for (const { target, parameters } of linksOf(line)) if (isNext(parameters)) return target;
  }
  return undefined;
}

interface Link {
  readonly target: string;
  readonly parameters: string;
}

/** Parameters up to the comma in front of the next link; a quoted value may hold anything. */
const parametersPattern = /(?:"(?:[^"\\]|\\.)*"|[^",])*/y;

function* linksOf(line: string): Generator<Link, void> {
  if (!line.trimStart().startsWith("<")) {
    const [target = "", ...parameters] = line.split(";");
    if (target.trim() !== "") yield { target: target.trim(), parameters: `;${parameters.join(";")}` };
    return;
  }
  let at = line.indexOf("<");
  while (at >= 0) {
    const end = line.indexOf(">", at);
    if (end < 0) return;
    parametersPattern.lastIndex = end + 1;
    const parameters = parametersPattern.exec(line)?.[0] ?? "";
    yield { target: line.slice(at + 1, end).trim(), parameters };
    at = line.indexOf("<", end + 1 + parameters.length);
  }
}

/** A relation may be one of several, quoted or not, in any case; other parameters may come first. */
function isNext(parameters: string): boolean {
  const relation = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;",]+))/i.exec(
    // Quoted values of other parameters may look like one.
    parameters.replace(/(;\s*(?!rel\s*=)[\w*-]+\s*=\s*)"(?:[^"\\]|\\.)*"/gi, "$1x"),
  );
  return (relation?.[1] ?? relation?.[2] ?? "").toLowerCase().split(/\s+/).includes("next");
}

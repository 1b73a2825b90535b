/** Asks for a user name and a password on a terminal; the password is not shown. */
import { StringDecoder } from "node:string_decoder";
import { AppError } from "../errors.ts";

/** The part of `process.stdin` that is used. */
export interface PromptInput extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean | undefined;
  setRawMode(raw: boolean): unknown;
}

/** The part of `process.stderr` that is used. */
export interface PromptOutput {
  write(text: string): unknown;
}

interface Question {
  readonly label: string;
  readonly hidden?: boolean;
}

/**
 * Asks for the user name (offering `username`, if given) and the password. Throws INTERRUPTED for Ctrl-C and for
 * the end of the input, USAGE for an empty answer; the terminal is then as it was before.
 */
export async function promptLogin(
  input: PromptInput,
  output: PromptOutput,
  username?: string,
): Promise<{ readonly username: string; readonly password: string }> {
  // Raw, so that Ctrl-C comes as a key and nothing is shown by the terminal itself.
  input.setRawMode(true);
  const keys = keysOf(input);
  try {
    const name = username ?? (await ask(keys, output, { label: "User name" }));
    const password = await ask(keys, output, { label: `Password for ${name}`, hidden: true });
    return { username: name, password };
  } finally {
    input.setRawMode(false);
    // Ends the reading: a terminal that is still read keeps the program alive.
    await keys.return(undefined);
  }
}

async function ask(
  keys: AsyncGenerator<string, undefined>,
  output: PromptOutput,
  question: Question,
): Promise<string> {
  const { label, hidden = false } = question;
  output.write(`${label}: `);
  const answer: string[] = [];
  const erase = (count: number): void => {
    for (const _ of answer.splice(answer.length - count)) if (!hidden) output.write("\b \b");
  };
  for (;;) {
    const next = await keys.next();
    const key = next.done === true ? "\u0004" : next.value;
    if (key === "\u0003" || key === "\u0004") {
      output.write("\r\n");
      throw new AppError("INTERRUPTED", "interrupted");
    }
    if (key === "\r" || key === "\n") break;
    if (key === "\u007f" || key === "\b") erase(Math.min(answer.length, 1));
    else if (key === "\u0015") erase(answer.length);
    else if (!/^[\p{Cc}]/u.test(key)) {
      answer.push(key);
      if (!hidden) output.write(key);
    }
  }
  output.write("\r\n");
  if (answer.length > 0) return answer.join("");
  throw new AppError("USAGE", `Cannot log in: no ${hidden ? "password" : "user name"} was given`, {
    hint: "run it again and answer, or pass --username USER and --password-stdin",
  });
}

/** Keys one by one: characters, and the escape sequences of arrows and the like as one key each. */
async function* keysOf(input: PromptInput): AsyncGenerator<string, undefined> {
  const decoder = new StringDecoder("utf8");
  for await (const chunk of input) {
    const text = typeof chunk === "string" ? chunk : decoder.write(Buffer.from(chunk));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
    yield* text.match(/\u001b(?:\[[0-9;?]*[ -/]*[@-~]|O.)?|[\s\S]/gu) ?? [];
  }
  return undefined;
}

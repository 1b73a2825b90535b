/** An upload session as plain data: all that is needed to go on with it, in this process or another. */

/** An upload under way. */
export interface UploadSession {
  /** Where its next request goes: opaque, and as secret as a signature. */
  readonly location: string;
  /** Bytes that the registry has acknowledged. */
  readonly offset: number;
}

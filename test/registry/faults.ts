/**
 * The named faults, by area (faults/). Each entry makes a {@link Fault} from its options, whose defaults are the
 * plainest form of the misbehaviour. A new quirk of a registry begins as an entry there.
 */
import { authFaults } from "./faults/auth.ts";
import { blobFaults } from "./faults/blobs.ts";
import { generalFaults } from "./faults/general.ts";
import { listingFaults } from "./faults/listing.ts";
import { manifestFaults } from "./faults/manifests.ts";
import { networkFaults } from "./faults/network.ts";
import { referrersFaults } from "./faults/referrers.ts";
import { uploadFaults } from "./faults/uploads.ts";

export const faults = {
  ...generalFaults,
  ...authFaults,
  ...manifestFaults,
  ...referrersFaults,
  ...blobFaults,
  ...listingFaults,
  ...networkFaults,
  ...uploadFaults,
} as const;

export type FaultName = keyof typeof faults;
/** The options of a fault; an object of none for those that have none. */
export type FaultOptions<Name extends FaultName> =
  Parameters<(typeof faults)[Name]> extends readonly []
    ? object
    : NonNullable<Parameters<(typeof faults)[Name]>[0]>;

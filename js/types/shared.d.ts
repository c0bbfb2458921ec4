/**
 * @param {string | true} account only tabs with the same account share the connection
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function sharedSource(account: string | true, request: StreamRequest, sink: Sink): {
    /** The newest id received, of any topic. */
    lastEventId: string;
    readonly role: "solo" | "leader" | "follower";
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    retryNow(): void;
    hide: () => void | undefined;
};
import type { StreamRequest } from "./request.js";
import type { Sink } from "./source.js";

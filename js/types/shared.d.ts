/**
 * @param {string | true} account who may share it
 * @param {StreamRequest} request
 * @param {Sink} sink
 */
export function sharedSource(account: string | true, request: StreamRequest, sink: Sink): {
    /** The newest id that was heard, of any topic. */
    lastEventId: string;
    readonly role: "solo" | "leader" | "follower";
    /** @param {string} lastEventId */
    start(lastEventId: string): void;
    stop(): void;
    hurry(): void;
    hide: () => void | undefined;
};
import type { StreamRequest } from "./request.js";
import type { Sink } from "./source.js";

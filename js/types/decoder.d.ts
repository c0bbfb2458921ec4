/**
 * What a block of a stream says. `topic` is a field of Tidewire's own, written where a stream may
 * carry more than one.
 *
 * @typedef {{ type: string, data: string, lastEventId: string, topic?: string }} Block
 *
 * @typedef {ReturnType<typeof decoder>} Decoder
 */
/**
 * Turn the bytes of a text/event-stream into blocks.
 *
 * @param {string} [lastEventId] where the stream goes on
 */
export function decoder(lastEventId?: string): {
    lastEventId: string;
    /** The reconnection time that the server asked for, in milliseconds. @type {number | undefined} */
    retry: number | undefined;
    /** Begin a new connection: what was half read is dropped, `lastEventId` and `retry` stay. */
    reset(): void;
    /**
     * Return the blocks that end in this chunk. Throws a RangeError on one of more than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk: Uint8Array): Block[];
};
/**
 * What a block of a stream says. `topic` is a field of Tidewire's own, written where a stream may
 * carry more than one.
 */
export type Block = {
    type: string;
    data: string;
    lastEventId: string;
    topic?: string;
};
/**
 * What a block of a stream says. `topic` is a field of Tidewire's own, written where a stream may
 * carry more than one.
 */
export type Decoder = ReturnType<typeof decoder>;

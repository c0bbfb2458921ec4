/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 *
 * @typedef {{ type: string, data: string, lastEventId: string, topic?: string }} Block
 *
 * @typedef {ReturnType<typeof decoder>} Decoder
 */
/**
 * Turn the bytes of a text/event-stream into blocks.
 *
 * @param {string} [lastEventId] where the stream continues
 */
export function decoder(lastEventId?: string): {
    lastEventId: string;
    /** The server's reconnection time, in milliseconds. @type {number | undefined} */
    retry: number | undefined;
    /** Start a new connection: drop an unfinished block, keep `lastEventId` and `retry`. */
    reset(): void;
    /**
     * Return the blocks that end in this chunk. Throws a RangeError if one is larger than 16 MiB.
     *
     * @param {Uint8Array} chunk
     * @returns {Block[]}
     */
    feed(chunk: Uint8Array): Block[];
};
/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 */
export type Block = {
    type: string;
    data: string;
    lastEventId: string;
    topic?: string;
};
/**
 * A block of a stream. `topic` is Tidewire's own field; it is sent if a stream may have more than one topic.
 */
export type Decoder = ReturnType<typeof decoder>;

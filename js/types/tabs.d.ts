/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 *
 * @typedef {{ live: boolean, timeout: number, carried: string[], requested: string[], lastEventId: string }} State
 *
 * A message of the leader: its state, and what has happened.
 *
 * @typedef {State & { blocks?: Block[], origin?: string, failure?: Failure }} Message
 *
 * @typedef {object} Callbacks
 * @property {() => void} lead this tab leads now
 * @property {() => void} stepDown this tab does not lead any more
 * @property {() => State} state
 * @property {() => void} topicsChanged another tab may want more topics
 * @property {(message: Message) => void} follow
 */
/**
 * @param {string} name of the lock and the channel: the same for tabs that may share
 * @param {string[]} topics
 * @param {Callbacks} callbacks
 */
export function joinTabs(name: string, topics: string[], callbacks: Callbacks): {
    /** Whether this tab holds the connection. */
    leading: boolean;
    /** Return the topics of all tabs. */
    allTopics: () => string[];
    /** Announce this tab to the leader. A leader that does not answer is replaced. */
    announce(): void;
    /** If this tab leads, send its state to the others. @param {Partial<Message>} [news] */
    broadcast(news?: Partial<Message>): void;
    leave(): void;
};
/**
 * A message of the leader: its state, and what has happened.
 */
export type State = {
    live: boolean;
    timeout: number;
    carried: string[];
    requested: string[];
    lastEventId: string;
};
/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 */
export type Message = State & {
    blocks?: Block[];
    origin?: string;
    failure?: Failure;
};
/**
 * The state of the leader's connection: whether it is open, the server's timeout, the topics that it carries or
 * carried last, and those that it requested since.
 */
export type Callbacks = {
    /**
     * this tab leads now
     */
    lead: () => void;
    /**
     * this tab does not lead any more
     */
    stepDown: () => void;
    state: () => State;
    /**
     * another tab may want more topics
     */
    topicsChanged: () => void;
    follow: (message: Message) => void;
};
import type { Block } from "./decoder.js";
import type { Failure } from "./events.js";

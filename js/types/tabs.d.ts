/**
 * How the leader's connection is: whether it is open, which topics it carries or carried last, and which ones it
 * asked for since.
 *
 * @typedef {{ live: boolean, patience: number, granted: string[], asked: string[], lastEventId: string }} State
 *
 * What the leader says: how it is, and what came of late.
 *
 * @typedef {State & { blocks?: Block[], origin?: string, failure?: Failure }} Word
 *
 * What a tab does when it leads, and when it does not any more.
 *
 * @typedef {object} Part
 * @property {() => void} lead
 * @property {() => void} rest
 * @property {() => State} state
 * @property {() => void} grown another tab may want more topics
 * @property {(word: Word) => void} follow
 */
/**
 * @param {string} name of the lock and the channel: the same for those who may share
 * @param {string[]} topics
 * @param {Part} part
 */
export function joinTabs(name: string, topics: string[], part: Part): {
    /** Whether this tab holds the connection. */
    leading: boolean;
    /** Return the topics of all tabs. */
    terms: () => string[];
    /** Tell the leader that this tab is here. One that does not answer has lost its place. */
    ask(): void;
    /** Tell the others how it is, if this tab leads. @param {Partial<Word>} [news] */
    tell(news?: Partial<Word>): void;
    leave(): void;
};
/**
 * What the leader says: how it is, and what came of late.
 */
export type State = {
    live: boolean;
    patience: number;
    granted: string[];
    asked: string[];
    lastEventId: string;
};
/**
 * What a tab does when it leads, and when it does not any more.
 */
export type Word = State & {
    blocks?: Block[];
    origin?: string;
    failure?: Failure;
};
/**
 * How the leader's connection is: whether it is open, which topics it carries or carried last, and which ones it
 * asked for since.
 */
export type Part = {
    lead: () => void;
    rest: () => void;
    state: () => State;
    /**
     * another tab may want more topics
     */
    grown: () => void;
    follow: (word: Word) => void;
};
import type { Block } from "./decoder.js";
import type { Failure } from "./events.js";

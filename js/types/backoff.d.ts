/**
 * Return the failures in a row after a connection, and how long to wait.
 *
 * @param {{ reason: string, headers?: Record<string, string> }} outcome how it ended
 * @param {number} lived milliseconds from its opening
 * @param {boolean} received whether anything came
 * @param {number} failures in a row before it
 * @param {number | undefined} retry what the server asked for
 */
export function weigh({ reason, headers }: {
    reason: string;
    headers?: Record<string, string>;
}, lived: number, received: boolean, failures: number, retry: number | undefined): {
    failures: number;
    delay: number;
};

/**
 * Return the number of failures in a row after a connection, and how long to wait.
 *
 * @param {{ reason: string, headers?: Record<string, string> }} outcome how the connection ended
 * @param {number} lived milliseconds for which it was open
 * @param {boolean} received whether anything was received
 * @param {number} failures in a row before it
 * @param {number | undefined} retry the server's `retry:`
 */
export function backoff({ reason, headers }: {
    reason: string;
    headers?: Record<string, string>;
}, lived: number, received: boolean, failures: number, retry: number | undefined): {
    failures: number;
    delay: number;
};

/**
 * What this code needs of the JavaScript engine and Node 20 lacks. Every entry point (library, command
 * line, tests, benches) imports this file first: libp2p 3 calls `Promise.withResolvers` while it loads.
 */
interface Resolvers<T> {
  promise: Promise<T>;
  resolve: (value: T | PromiseLike<T>) => void;
  reject: (reason?: unknown) => void;
}

function withResolvers<T>(): Resolvers<T> {
  let resolve!: Resolvers<T>['resolve'];
  let reject!: Resolvers<T>['reject'];
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

const host: { withResolvers?: typeof withResolvers } = Promise;
host.withResolvers ??= withResolvers;

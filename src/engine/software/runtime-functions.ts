// The types of the runtime functions, derived from their declaration.

import type { ValueType } from '../../ir/operations.ts';
import type { RUNTIME, RuntimeName } from '../../ir/runtime.ts';

type NumberOf<T extends ValueType> = T extends 'i64' ? bigint : number;
// biome-ignore lint/suspicious/noConfusingVoidType: a runtime function without a result returns nothing
type ResultOf<S> = S extends { result: infer R extends ValueType } ? NumberOf<R> : void;
type ArgumentsOf<P extends readonly ValueType[]> = { -readonly [K in keyof P]: NumberOf<P[K]> };

export type RuntimeFunctions = {
  [K in RuntimeName]: (...args: ArgumentsOf<(typeof RUNTIME)[K]['parameters']>) => ResultOf<(typeof RUNTIME)[K]>;
};

// How a family file writes its rows: `row('add', '00 /r', 'Eb,Gb', { lock: true })`. The words of `opcode` are
// explained in opcode-text.ts, those of `operands` in operand-code.ts.

import type { Feature, Row } from '../row.ts';

/** A row before it has its place in the whole table. */
export type RowDefinition = Omit<Row, 'id'>;

export type RowAttributes = Partial<
  Pick<Row, 'lift' | 'condition' | 'lock' | 'repeat' | 'size64' | 'mode' | 'ends'>
> & {
  readonly feature?: Feature;
};

export type DefineRow = (
  mnemonic: string,
  opcode: string,
  operands: string,
  attributes?: RowAttributes,
) => RowDefinition;

/** Gives the `row` function of a family whose rows need `feature` unless they say otherwise. */
export function rowsNeeding(feature: Feature): DefineRow {
  return (mnemonic, opcode, operands, attributes = {}) => ({
    mnemonic,
    opcode,
    operands: operands === '' ? [] : operands.split(','),
    lift: mnemonic,
    feature,
    ...attributes,
  });
}

/** A byte as the opcode text has it: two upper-case hexadecimal digits. */
export function byteText(value: number): string {
  return value.toString(16).toUpperCase().padStart(2, '0');
}

// Our declarations of the kernel's interface against the C headers: sizes, offsets, ioctl numbers, constants.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, test } from 'node:test';
import * as ioctls from '../../src/engine/kvm/ioctls.ts';
import { KVM_STRUCTS } from '../../src/engine/kvm/structs.ts';
import { compileC } from './c-compiler.ts';

/** C expressions, each with the value that we hold for it. */
const expected = new Map<string, number>();

for (const { name, sizeBytes, fields } of KVM_STRUCTS) {
  expected.set(`sizeof(struct ${name})`, sizeBytes);
  for (const [path, field] of fields) {
    expected.set(`offsetof(struct ${name}, ${path})`, field.offset);
    expected.set(`sizeof(((struct ${name} *)0)->${path})`, field.sizeBytes);
  }
}

const FAMILIES: Readonly<Record<string, string>> = { KVM_CAP: 'KVM_CAP_', KVM_EXIT: 'KVM_EXIT_' };
for (const [exported, value] of Object.entries(ioctls)) {
  if (typeof value === 'number') expected.set(exported, value);
  else if (typeof value === 'object' && 'number' in value) expected.set(value.name, value.number);
  else if (typeof value === 'object') {
    const prefix = FAMILIES[exported] ?? `${exported}_`;
    for (const [word, constant] of Object.entries(value)) expected.set(`${prefix}${word}`, Number(constant));
  }
}

const source = `#include <stddef.h>
#include <stdio.h>
#include <linux/kvm.h>
int main(void) {
${[...expected.keys()].map((expression) => `  printf("%llu\\n", (unsigned long long)(${expression}));`).join('\n')}
  return 0;
}
`;

const compiled = compileC(source, ['linux/kvm.h']);
const skip = typeof compiled === 'string' ? compiled : false;

describe("the kernel's headers", { skip }, () => {
  after(() => {
    if (typeof compiled === 'object') compiled.remove();
  });

  test('agree with every size, offset, ioctl number and constant', () => {
    if (typeof compiled !== 'object') return;
    const values = execFileSync(compiled.program, { encoding: 'utf8' }).trim().split('\n').map(Number);
    const theirs = Object.fromEntries([...expected.keys()].map((expression, index) => [expression, values[index]]));
    assert.deepEqual(Object.fromEntries(expected), theirs);
    assert.ok(values.length > 500);
  });
});

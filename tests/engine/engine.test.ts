import { describe } from 'node:test';
import { testSuites } from './engine-suite.ts';
import { RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createTestVcpu } from './vcpu-factory.ts';

describe('the software engine', () => {
  const host = new IdleHost();
  const target = createTestVcpu(host, RAM_BYTES);
  testSuites({ host, target });
});

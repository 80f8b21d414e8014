import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleHost } from '../../../../tests/engine/idle-host.ts';
import { dataCalls, HostCallLog, UnexpectedHostCall } from './host-calls.ts';

function createEnds() {
  const host = new IdleHost();
  const log = new HostCallLog();
  const leader = dataCalls(host, (name, place, sizeBytes, value, ask) => {
    const answer = ask();
    log.add({ name, place, sizeBytes, value, answer, deviceWrites: [] });
    return answer;
  });
  const follower = dataCalls(host, (name, place, sizeBytes, value) => log.next(name, place, sizeBytes, value).answer);
  return { host, log, leader, follower };
}

test('the same calls get the same answers, and the host hears them once', () => {
  const { host, log, leader, follower } = createEnds();
  host.tsc = 5;
  leader.writePort(0x80, 1, 7);
  assert.equal(leader.readPort(0x60, 2), 0xffff);
  assert.equal(leader.readTsc(), 5);
  leader.setCr8(3);
  host.tsc = 6;
  follower.writePort(0x80, 1, 7);
  assert.equal(follower.readPort(0x60, 2), 0xffff);
  assert.equal(follower.readTsc(), 5);
  assert.equal(log.consumed, false);
  follower.setCr8(3);
  assert.equal(log.consumed, true);
  assert.equal(host.portWrites.length, 1);
});

test('another place, size, value or kind of call is unexpected', () => {
  const { log, leader, follower } = createEnds();
  leader.writePort(0x80, 1, 7);
  for (const call of [
    () => follower.writePort(0x81, 1, 7),
    () => follower.writePort(0x80, 2, 7),
    () => follower.writePort(0x80, 1, 8),
    () => follower.writeMmio(0x80, 1, 7),
  ]) {
    assert.throws(call, (error) => error instanceof UnexpectedHostCall && error.expected?.name === 'writePort');
  }
  follower.writePort(0x80, 1, 7);
  assert.throws(
    () => follower.readTsc(),
    (error) => error instanceof UnexpectedHostCall && error.expected === undefined && error.asked.name === 'readTsc',
  );
  log.rewind();
  follower.writePort(0x80, 1, 7);
});

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ACPI_AREA, type AcpiTables, buildAcpiTables, buildMadt } from './tables.ts';

const OPTIONS = { vcpuCount: 2, serialPorts: [true, true, true, true] };

/** A megabyte of RAM with the tables in it. */
function placed({ place }: AcpiTables): DataView {
  const ram = new Uint8Array(0x100000);
  for (const { guestPhysical, bytes } of place) ram.set(bytes, guestPhysical);
  return new DataView(ram.buffer);
}

const sum = (ram: DataView, at: number, length: number): number => {
  let total = 0;
  for (let i = 0; i < length; i++) total += ram.getUint8(at + i);
  return total & 0xff;
};

const text = (ram: DataView, at: number, length: number): string =>
  String.fromCharCode(...new Uint8Array(ram.buffer, at, length));

/** What an operating system does: scan for the RSDP, follow the XSDT. Table addresses by signature. */
function find(ram: DataView): Map<string, number> {
  const found = new Map<string, number>();
  let rsdp = 0xe0000;
  while (text(ram, rsdp, 8) !== 'RSD PTR ') rsdp += 16;
  assert.equal(sum(ram, rsdp, 20), 0);
  assert.equal(sum(ram, rsdp, 36), 0);
  const xsdt = ram.getUint32(rsdp + 24, true);
  const rsdt = ram.getUint32(rsdp + 16, true);
  const count = (ram.getUint32(xsdt + 4, true) - 36) / 8;
  for (let i = 0; i < count; i++) {
    const at = Number(ram.getBigUint64(xsdt + 36 + 8 * i, true));
    assert.equal(at, ram.getUint32(rsdt + 36 + 4 * i, true), 'RSDT and XSDT agree');
    found.set(text(ram, at, 4), at);
  }
  const fadt = found.get('FACP')!;
  found.set('DSDT', ram.getUint32(fadt + 40, true));
  for (const [signature, at] of [...found, ['XSDT', xsdt], ['RSDT', rsdt]] as const) {
    assert.equal(text(ram, at, 4), signature);
    assert.equal(sum(ram, at, ram.getUint32(at + 4, true)), 0, `checksum of ${signature}`);
  }
  return found.set('FACS', ram.getUint32(fadt + 36, true));
}

test('a scan from 0xe0000 finds every table, with right checksums, apart from each other', () => {
  const tables = buildAcpiTables(OPTIONS);
  const ram = placed(tables);
  const found = find(ram);
  assert.deepEqual([...found.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'FACS']);
  assert.equal(text(ram, found.get('FACS')!, 4), 'FACS');
  assert.equal(found.get('FACS')! % 64, 0);
  assert.equal(tables.rsdpGuestPhysical, 0xe0000);
  let end: number = ACPI_AREA.guestPhysical;
  for (const { guestPhysical, bytes } of tables.place) {
    assert.ok(guestPhysical >= end);
    end = guestPhysical + bytes.length;
  }
  assert.ok(end <= 0x100000);
});

test('the FADT tells the ports of the fixed hardware and the reset register', () => {
  const ram = placed(buildAcpiTables(OPTIONS));
  const fadt = find(ram).get('FACP')!;
  assert.equal(ram.getUint32(fadt + 4, true), 276);
  assert.equal(ram.getUint16(fadt + 46, true), 9);
  assert.equal(ram.getUint32(fadt + 48, true), 0, 'no SMI command: always ACPI mode');
  assert.equal(ram.getUint32(fadt + 56, true), 0x600);
  assert.equal(ram.getUint32(fadt + 76, true), 0x608);
  assert.equal(ram.getUint16(fadt + 109, true) & 2, 0, 'no 8042');
  assert.equal(ram.getUint32(fadt + 120, true), 0xcf9);
  assert.equal(ram.getUint8(fadt + 128), 6);
  assert.equal(ram.getUint32(fadt + 112, true) & (1 << 20), 0, 'not hardware-reduced');
});

test('the MADT lists processors, with x2APIC entries for those that 8 bits cannot name', () => {
  const entries = (vcpuCount: number): number[][] => {
    const madt = buildMadt(vcpuCount);
    const list: number[][] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1]!) list.push([...madt.subarray(at, at + madt[at + 1]!)]);
    return list;
  };
  assert.deepEqual(entries(1), [
    [0, 8, 0, 0, 1, 0, 0, 0],
    [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
    [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
    [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
    [4, 6, 0xff, 0, 0, 1],
  ]);
  const many = entries(257);
  assert.equal(many.filter(([type]) => type === 0).length, 255);
  assert.deepEqual(many.filter(([type]) => type === 9)[1], [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0]);
});

test('more processors than the area holds are refused', () => {
  assert.throws(() => buildAcpiTables({ ...OPTIONS, vcpuCount: 20_000 }), RangeError);
});

const iasl = spawnSync('iasl', ['-v']);
const skip = iasl.error ? "no iasl here (Debian's acpica-tools has it)" : false;

test('iasl disassembles every table without complaint, and compiles the DSDT back', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-acpi-'));
  try {
    const ram = placed(buildAcpiTables(OPTIONS));
    for (const [signature, at] of find(ram)) {
      const file = join(folder, `${signature}.dat`);
      writeFileSync(file, new Uint8Array(ram.buffer, at, ram.getUint32(at + 4, true)));
      const output = spawnSync('iasl', ['-d', file], { encoding: 'utf8' });
      assert.equal(output.status, 0, `${signature}: ${output.stderr}`);
      assert.doesNotMatch(output.stdout + output.stderr, /error|warning|invalid/i, signature);
    }
    const source = join(folder, 'DSDT.dsl');
    const dsdt = readFileSync(source, 'utf8');
    assert.match(dsdt, /Name \(_HID, EisaId \("PNP0501"\)/);
    assert.match(dsdt, /Device \(COM4\)/);
    assert.match(dsdt, /Name \(\\?_S5, Package \(0x04\)/);
    assert.match(readFileSync(join(folder, 'FACP.dsl'), 'utf8'), /Reset Register Supported \(V2\) : 1/);
    const compiled = execFileSync('iasl', ['-p', join(folder, 'again'), source], { encoding: 'utf8' });
    assert.match(compiled, /0 Errors, 0 Warnings/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// Whether this host has a KVM that one may open, told without foreign calls: platform, device, permission.

import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { KVM_DEVICE, type KvmCheck } from './kvm-check.ts';

/** How the host looks; tests have hosts of their own. */
export interface KvmHost {
  readonly platform: string;
  readonly architecture: string;
  exists(): boolean;
  /** Throws as accessSync does. */
  requireAccess(): void;
  /** The device's group; undefined where only its owner may use it. */
  groupName(): string | undefined;
}

export const thisHost: KvmHost = {
  platform: process.platform,
  architecture: process.arch,
  exists: () => existsSync(KVM_DEVICE),
  requireAccess: () => accessSync(KVM_DEVICE, constants.R_OK | constants.W_OK),
  groupName: () => {
    const { gid, mode } = statSync(KVM_DEVICE);
    if ((mode & 0o060) !== 0o060) return undefined;
    try {
      const line = readFileSync('/etc/group', 'utf8')
        .split('\n')
        .find((one) => one.split(':')[2] === String(gid));
      return line?.split(':')[0] ?? String(gid);
    } catch {
      return String(gid);
    }
  },
};

const passed = (name: string, finding: string): KvmCheck => ({ name, passed: true, finding });
const failed = (name: string, finding: string, remedy: string): KvmCheck => ({ name, passed: false, finding, remedy });

/** The checks that need no foreign call, up to the first that has not passed. */
export function checkDevice(host: KvmHost = thisHost): KvmCheck[] {
  const { platform, architecture } = host;
  if (platform !== 'linux') {
    return [failed('host', `KVM is a part of Linux; this is ${platform}`, 'run Bulkhead on Linux for KVM')];
  }
  if (architecture !== 'x64') {
    const finding = `the host's processor is ${architecture}, and guests are x86-64`;
    return [failed('host', finding, 'run Bulkhead on an x86-64 host for KVM')];
  }
  const checks = [passed('host', 'x86-64 Linux')];
  if (!host.exists()) {
    const remedy =
      'switch virtualization on in the firmware and load kvm_intel or kvm_amd; ' +
      'in a VM ask for nested virtualization, in a container for the device';
    return [...checks, failed('device', `no ${KVM_DEVICE}`, remedy)];
  }
  checks.push(passed('device', KVM_DEVICE));
  try {
    host.requireAccess();
  } catch (error) {
    return [...checks, refusedAccess(host, error)];
  }
  return [...checks, passed('permission', 'to read and write')];
}

function refusedAccess(host: KvmHost, error: unknown): KvmCheck {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'EACCES' && code !== 'EPERM') {
    const finding = `${KVM_DEVICE} cannot be used: ${error instanceof Error ? error.message : error}`;
    return failed('permission', finding, 'see the kernel log (dmesg)');
  }
  const group = host.groupName();
  return group === undefined || group === 'root'
    ? failed(
        'permission',
        `no permission for ${KVM_DEVICE}`,
        `let a group use it: chgrp kvm and chmod g+rw ${KVM_DEVICE}`,
      )
    : failed(
        'permission',
        `no permission for ${KVM_DEVICE}: its users are in the group ${group}`,
        `sudo usermod -aG ${group} "$USER", then log in anew`,
      );
}

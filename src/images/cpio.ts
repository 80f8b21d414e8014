// Writer of "newc" cpio archives as the kernel's initramfs takes them:
// Documentation/driver-api/early-userspace/buffer-format.rst of Linux.

export interface CpioEntry {
  /** Path without a leading slash; its parent folders must come before it. */
  path: string;
  type: keyof typeof FILE_TYPE;
  /** Permission bits. */
  mode: number;
  /** A file's bytes, or a symbolic link's target. */
  data?: Uint8Array | string;
  /** Of a character device: major and minor number. */
  device?: readonly [major: number, minor: number];
}

const FILE_TYPE = { fifo: 0o010000, characterDevice: 0o020000, directory: 0o040000, file: 0o100000, symlink: 0o120000 };

const MAGIC = '070701';
const HEADER_BYTES = 110;
const TRAILER = 'TRAILER!!!';
/** The kernel takes one archive behind another where the second starts at a multiple of 4. */
const ARCHIVE_ALIGNMENT_BYTES = 512;

/**
 * The archive, padded so that another one can follow it directly. Owner is root, times are zero: the bytes depend on
 * the entries alone.
 */
export function writeCpio(entries: Iterable<CpioEntry>): Uint8Array {
  const encoder = new TextEncoder();
  const records = [...entries].map((entry) => ({
    name: encoder.encode(`${entry.path}\0`),
    data: typeof entry.data === 'string' ? encoder.encode(entry.data) : (entry.data ?? new Uint8Array()),
    mode: FILE_TYPE[entry.type] | entry.mode,
    links: entry.type === 'directory' ? 2 : 1,
    device: entry.device ?? [0, 0],
  }));
  records.push({ name: encoder.encode(`${TRAILER}\0`), data: new Uint8Array(), mode: 0, links: 1, device: [0, 0] });

  let size = 0;
  for (const { name, data } of records) size = align(align(size + HEADER_BYTES + name.length, 4) + data.length, 4);
  const archive = new Uint8Array(align(size, ARCHIVE_ALIGNMENT_BYTES));
  let offset = 0;
  records.forEach((record, index) => {
    const fields = [
      index + 1, // inode: each its own, so that nothing is taken for a hard link
      record.mode,
      0, // uid
      0, // gid
      record.links,
      0, // mtime
      record.data.length,
      0, // the file system's device, major and minor
      0,
      ...record.device,
      record.name.length,
      0, // checksum: unused in this format
    ];
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    archive.set(encoder.encode(header), offset);
    archive.set(record.name, offset + HEADER_BYTES);
    const dataOffset = align(offset + HEADER_BYTES + record.name.length, 4);
    archive.set(record.data, dataOffset);
    offset = align(dataOffset + record.data.length, 4);
  });
  return archive;
}

function align(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

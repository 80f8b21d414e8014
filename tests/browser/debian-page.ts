// The page with Debian as its guest.

import { resolveImage } from '../../src/images/images.ts';
import { createOverlay, type OverlayFile } from '../../src/images/overlay.ts';
import { DEFAULT_RAM_BYTES } from '../../src/machine/config.ts';
import { type PageServer, startPageServer } from './page-server.ts';
import { unpackKernel } from './unpacked-kernel.ts';

/** `files` are put into the guest. Throws a UserError where there is no image. */
export async function serveDebian(
  files: readonly OverlayFile[],
): Promise<{ server: PageServer; kernelVersion: string }> {
  const image = await resolveImage('debian');
  const { kernelVersion } = image;
  const initrds = [image.initrd, createOverlay({ options: { terminal: true, term: 'linux' }, files })];
  const server = await startPageServer({
    description: {
      label: `${image.name.replace(/^debian:/, 'Debian ')}, kernel ${kernelVersion}`,
      kernelName: image.kernelPath,
      commandLine: image.defaultCommandLine,
      memoryBytes: DEFAULT_RAM_BYTES,
      initrdCount: initrds.length,
    },
    kernel: unpackKernel(image.kernel),
    initrds,
  });
  return { server, kernelVersion };
}

// `bulkhead images`: which guest images there are, and fetching one ahead of its first use.

import { Command, Option } from 'commander';
import { UserError } from '../base/errors.ts';
import { type ImageDescription, listImages, resolveImage } from '../images/images.ts';
import { createProgressBar } from './progress-bar.ts';

interface ImageState extends ImageDescription {
  /** Version of the kernel in the cache; null where the image is not cached. */
  cachedKernelVersion: string | null;
}

export const formatOption = (): Option =>
  new Option('--format <format>', 'how to print').choices(['text', 'json']).default('text');

export function createImagesCommand(): Command {
  const list = new Command('list')
    .summary('list the images (default)')
    .description('Lists the guest images and tells which of them are in the cache.')
    .addOption(formatOption())
    .addHelpText('after', '\nExamples:\n  bulkhead images\n  bulkhead images list --format json')
    .action(async ({ format }: { format: string }) => {
      const images = await imageStates();
      process.stdout.write(format === 'json' ? `${JSON.stringify(images, undefined, 2)}\n` : formatImages(images));
    });
  const pull = new Command('pull')
    .summary('fetch an image into the cache')
    .description('Makes an image from the newest packages of a Debian mirror and keeps it in the cache.')
    .argument('<image>', 'guest image, such as debian or debian:12')
    .option('--mirror <url>', "Debian mirror; the host's apt knows one by default")
    .addHelpText(
      'after',
      '\nExamples:\n  bulkhead images pull debian\n' +
        '  bulkhead images pull debian:12 --mirror http://mirror.example/debian',
    )
    .action(async (name: string, { mirror }: { mirror?: string }) => {
      const progress = createProgressBar(process.stderr);
      const image = await resolveImage(name, { progress, refresh: true, ...(mirror !== undefined && { mirror }) });
      process.stdout.write(`${image.name}: kernel ${image.kernelVersion}\n`);
    });
  return new Command('images')
    .summary('list and fetch guest images')
    .description('Guest images: what there is, and fetching one ahead of its first use.')
    .addHelpText('after', '\nExamples:\n  bulkhead images\n  bulkhead images pull debian')
    .addCommand(list, { isDefault: true })
    .addCommand(pull);
}

/** Every image with its state in the cache; uses no network. */
export async function imageStates(): Promise<ImageState[]> {
  return Promise.all(
    listImages().map(async (image) => ({ ...image, cachedKernelVersion: await cachedKernelVersion(image.name) })),
  );
}

async function cachedKernelVersion(name: string): Promise<string | null> {
  try {
    return (await resolveImage(name, { offline: true })).kernelVersion;
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

function formatImages(images: readonly ImageState[]): string {
  return images
    .map(({ name, aliases, summary, cachedKernelVersion }) => {
      const state = cachedKernelVersion === null ? 'not fetched yet' : `in the cache: kernel ${cachedKernelVersion}`;
      return `${name}  (also ${aliases.join(', ')})\n  ${summary}\n  ${state}\n`;
    })
    .join('');
}

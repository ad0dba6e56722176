import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'

export interface ImageReference {
  /** With its port. */
  readonly host: string
  readonly name: string
  /** `sha256:` and hex. */
  readonly digest: string
}

const scheme = 'oci://'
/** OCI distribution 1.1, "Pulling manifests". */
const nameForm = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const hostForm = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/i

export function isImageReference(text: string): boolean {
  return text.startsWith(scheme)
}

/**
 * `oci://HOST/NAME@sha256:…`
 * @throws IrError input when it is not of that form; a tag is not enough, as it can be moved
 */
export function parseReference(text: string): ImageReference {
  const [, host = '', name = '', digest = ''] = /^oci:\/\/([^/]+)\/([^@]+)@(sha256:[0-9a-f]{64})$/.exec(text) ?? []
  const [bare = ''] = name.split(':')
  if (hostForm.test(host) && nameForm.test(bare) && name.length <= 512) return { host, name: bare, digest }
  throw new IrError('input', `${safe(text, 200)} is no image reference.`, {
    hints: ['Write oci://HOST/NAME@sha256:… with its digest: a tag can be moved.'],
  })
}

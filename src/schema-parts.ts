import { z } from 'zod'

/** A path in one of our YAML files: relative to that file's folder as written, absolute once it is loaded. */
export const path = z
  .string()
  .min(1)
  .regex(/^(?!~)[^\0]*$/, 'must be a path: ~ is not expanded, write it out')

/** What these files say is copied into journals and reports, so a URL must not carry a password. */
export const url = z
  .string()
  .min(1)
  .refine(
    (text) => /^https?:\/\//i.test(text) && URL.canParse(text),
    'must be a URL that begins with http:// or https://',
  )
  .refine((text) => !/^https?:\/\/[^/?#]*@/i.test(text), 'must not carry a user name or password')

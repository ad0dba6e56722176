/** What a note can be about, by name: the words of `mcp-ir case note --kind` and `--about`. */

export const noteKinds = ['detected', 'aware', 'classified', 'notified', 'call', 'decision', 'note'] as const
export type NoteKind = (typeof noteKinds)[number]

/** Notices that a law asks for. A note of the kind `notified` says which of them went out. */
export const noticeNames = [
  'gdpr-notification',
  'nis2-early-warning',
  'nis2-notification',
  'nis2-final',
  'dora-initial',
  'dora-intermediate',
  'dora-final',
] as const
export type NoticeName = (typeof noticeNames)[number]

/** What notices have to say and only people know. The last note on each counts. */
export const noticeItems = [
  'contact',
  'data-subjects',
  'consequences',
  'measures',
  'malicious',
  'cross-border',
  'severity',
  'indicators',
  'root-cause',
  'origin',
  'criteria',
  'continuity',
  'functions',
  'clients',
  'costs',
] as const
export type NoticeItem = (typeof noticeItems)[number]

export type NoteAbout = NoticeName | NoticeItem

export function isNoticeName(about: string | undefined): about is NoticeName {
  return noticeNames.some((name) => name === about)
}

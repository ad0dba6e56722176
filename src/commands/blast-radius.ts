import { WindowCommand } from '../step-command.ts'

export default class BlastRadius extends WindowCommand {
  static override summary = 'What it could reach, did reach, and what is suspect.'
  protected readonly use = 'blast-radius.compute'
}

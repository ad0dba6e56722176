import { StepCommand } from '../step-command.ts'

export default class Release extends StepCommand {
  static override summary = 'Undo the isolation, from the journal, after a look at what changed since.'
  protected readonly use = 'network.release'
}

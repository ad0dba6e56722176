import { StepCommand } from '../step-command.ts'

export default class Reinstate extends StepCommand {
  static override summary = 'Undo the revocations that can be undone (a false alarm).'
  protected readonly use = 'credentials.reinstate'
}

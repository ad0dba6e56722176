import { StepCommand } from '../step-command.ts'

export default class Revoke extends StepCommand {
  static override summary = 'Revoke every credential of a server, and prove the old ones dead.'
  protected readonly use = 'credentials.revoke'
}

import { StepCommand } from '../step-command.ts'

export default class Rotate extends StepCommand {
  static override summary = 'Issue new credentials and deliver them; they are never shown.'
  protected readonly use = 'credentials.rotate'
}

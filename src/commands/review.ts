import { WindowCommand } from '../step-command.ts'

export default class Review extends WindowCommand {
  static override summary = 'What the server did, from the invocation log.'
  protected readonly use = 'invocations.review'
}

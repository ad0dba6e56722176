import axe from 'axe-core'
import type { Page } from 'playwright-core'

interface Finding {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[]
}

/**
 * What axe-core finds in the page as it is shown now, at WCAG 2.2 AA and best practice. The page's own policy would forbid
 * its script; what a debugger evaluates is not under it.
 */
export async function accessibilityFindings(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate<{ violations: readonly Finding[] }>(`axe.run(document, {
    resultTypes: ['violations'],
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  })`)
  return violations.map(({ id, impact, nodes }) => {
    const [first] = nodes
    return `${impact}: ${id}: ${nodes.length} times, such as ${first?.html.slice(0, 200)} ${first?.failureSummary}`
  })
}

import type { Tlp } from './model.ts'

/** As the standard writes it. @see https://www.first.org/tlp/ */
export function tlpLabel(tlp: Tlp): string {
  return `TLP:${tlp.toUpperCase()}`
}

/** The standard's colours, on black. */
const colours: Readonly<Record<Tlp, string>> = {
  red: '#ff2b2b',
  amber: '#ffc000',
  'amber+strict': '#ffc000',
  green: '#33ff00',
  clear: '#ffffff',
}

/** Width of the label in 12 points, with its margins, in millimetres. */
const widths: Readonly<Record<Tlp, number>> = { red: 21, amber: 27, 'amber+strict': 46, green: 27, clear: 26 }

/**
 * The label on screen, and in head and foot of each printed sheet. There it is drawn as a border, as browsers print borders
 * also where they are told to leave backgrounds out.
 */
export function tlpStyle(tlp: Tlp, caseId: string): string {
  const width = widths[tlp]
  const text = `content:"${tlpLabel(tlp)}";color:${colours[tlp]};font:bold 12pt/0 Arial,Helvetica,sans-serif;text-align:center`
  const box = `border:solid #000;border-width:3.1mm 0;height:0;width:${width}mm`
  // A case id is letters, digits and hyphens; whatever else a damaged journal may hold stays out of the style sheet.
  const footer = `content:"Case ${caseId.replace(/[^A-Za-z0-9-]/g, '')}, page " counter(page) " of " counter(pages)`
  return `
.tlp{display:inline-block;margin:0;background:#000;color:${colours[tlp]};font:bold 1rem/1.5 Arial,Helvetica,sans-serif;padding:.15rem .6rem;border-radius:3px}
@media print{.tlp{display:none}@page{@top-right{${text};${box};margin-top:6mm;vertical-align:top}@bottom-right{${text};${box};margin-bottom:4mm}@bottom-left{${footer};color:#586574;font:8pt Arial,Helvetica,sans-serif}}}
`
}

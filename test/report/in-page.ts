// Run in the browser, so they are text: the project's own code is checked without the types of a document.

/** What is in the page that must not be, and its policy. */
export const inventory = `(() => ({
  scripts: document.querySelectorAll('script,iframe,object,embed,img,form,base,link').length,
  handlers: [...document.querySelectorAll('*')].flatMap((element) =>
    element.getAttributeNames().filter((name) => name.startsWith('on') || name === 'style')),
  links: [...document.querySelectorAll('a')].map((link) => link.getAttribute('href').slice(0, 1)),
  policy: document.querySelector('meta[http-equiv="Content-Security-Policy"]').getAttribute('content'),
  styled: getComputedStyle(document.querySelector('.card')).borderLeftWidth,
}))()`

export interface Inventory {
  readonly scripts: number
  readonly handlers: readonly string[]
  readonly links: readonly string[]
  readonly policy: string
  readonly styled: string
}

/** What a person, or a screen reader, would stumble over. Contrast as WCAG 2 defines it. */
export const legibility = String.raw`(() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map((value) => {
      const part = Number(value) / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor
      if (colour !== 'rgba(0, 0, 0, 0)') return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const faint = []
  for (const element of document.querySelectorAll('body *:not(svg):not(svg *)')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '')
    if (!own || element.closest('.skip') !== null) continue
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))]
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.push(element.outerHTML.slice(0, 120))
  }
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id)
  return {
    tooWide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    faint,
    lanes: [...document.querySelectorAll('svg.chart text')]
      .filter((text) => ['Attacker', 'System', 'Responder'].includes(text.textContent))
      .map((text) => getComputedStyle(text).fill),
    headings: [...document.querySelectorAll('h1,h2,h3')].map(({ tagName }) => Number(tagName.slice(1))),
    headless: [...document.querySelectorAll('th')].filter((cell) => !cell.hasAttribute('scope')).length,
    dangling: [...document.querySelectorAll('a')].filter((link) => document.getElementById(link.hash.slice(1)) === null).length,
    duplicates: ids.length - new Set(ids).size,
  }
})()`

export interface Legibility {
  readonly tooWide: number
  readonly faint: readonly string[]
  readonly lanes: readonly string[]
  readonly headings: readonly number[]
  readonly headless: number
  readonly dangling: number
  readonly duplicates: number
}

/** How the page looks as printed. */
export const paper = `(() => ({
  ink: getComputedStyle(document.body).color,
  nav: getComputedStyle(document.querySelector('nav')).display,
  cut: [...document.querySelectorAll('table')].filter(
    (table) => table.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length,
}))()`

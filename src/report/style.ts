import { colours } from './charts.ts'
import type { Report } from './model.ts'
import { tlpStyle } from './tlp.ts'

/** The same names as in `colours`: what a chart draws by day has its counterpart here. */
const dark: Readonly<Record<keyof typeof colours, string>> = {
  attacker: '#ff8f85',
  system: '#8ab4f8',
  responder: '#5fd0bd',
  failed: '#f0a860',
  ink: '#e6ebf1',
  muted: '#9fadbb',
  line: '#35414e',
  band: '#1a222b',
  paper: '#12181f',
}

const properties = (values: Readonly<Record<string, string>>) =>
  Object.entries(values)
    .map(([name, value]) => `--${name}:${value}`)
    .join(';')

/** Charts carry their colours as attributes; any rule beats an attribute. */
const chartColours = Object.entries(colours)
  .map(
    ([name, value]) => `.chart [fill="${value}"]{fill:var(--${name})}.chart [stroke="${value}"]{stroke:var(--${name})}`,
  )
  .join('\n')

export function styleOf({ tlp, case: { id } }: Report): string {
  return `${style}${tlpStyle(tlp, id)}`
}

/** Ordinary light for paper; dark only on screens that ask for it. Nothing is fetched: the fonts are the reader's own. */
export const style = `
:root{color-scheme:light dark;${properties(colours)};
--good:#17663a;--good-bg:#e6f4ec;--partly:#7a4a00;--partly-bg:#fdf1da;--bad:#9c1c14;--bad-bg:#fdeceb;--unknown:#4c5866;--unknown-bg:#eef1f4;
--accent:#1f4f8f;--surface:#ffffff;--page:#f6f7f9;--shadow:0 1px 2px rgba(16,24,40,.06)}
@media screen and (prefers-color-scheme:dark){:root{${properties(dark)};
--good:#7ddba3;--good-bg:#12301f;--partly:#f2c374;--partly-bg:#352710;--bad:#ff9d94;--bad-bg:#3b1715;--unknown:#b3bfcb;--unknown-bg:#222b35;
--accent:#8ab4f8;--surface:#12181f;--page:#0b1015;--shadow:none}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:1rem;background:var(--surface);padding:.5rem 1rem;z-index:2}
.top{background:var(--surface);border-bottom:1px solid var(--line)}
.top .tlp{float:right;margin-left:1rem}footer .tlp{float:right}
.plain-th{font-weight:400}table.narrow{width:auto}table.narrow td,table.narrow th{padding-right:2rem}table.parts{table-layout:fixed}table.parts th:nth-child(1){width:32%}table.parts th:nth-child(2){width:6.5rem}
.top>div{max-width:82rem;margin:0 auto;padding:1.6rem 1.5rem 1.3rem}
.kicker{margin:0;color:var(--muted);font-size:.8rem;font-weight:600;letter-spacing:.08em;text-transform:uppercase}
p.small{font-size:.86rem}h1{margin:.1rem 0 .6rem;font-size:1.9rem;line-height:1.2;letter-spacing:-.01em;font-weight:650}
.facts{display:flex;flex-wrap:wrap;gap:.35rem 1.6rem;margin:0;font-size:.88rem}
.facts div{display:flex;gap:.4rem;min-width:0}.facts dt{color:var(--muted)}.facts dd{margin:0;min-width:0}
.page{max-width:82rem;margin:0 auto;padding:1.2rem 1.5rem 4rem;display:grid;grid-template-columns:12.5rem minmax(0,1fr);gap:2rem;align-items:start}
nav{position:sticky;top:1rem;font-size:.86rem}
nav ol{list-style:none;margin:0;padding:0;border-left:2px solid var(--line)}
nav a{display:block;padding:.2rem 0 .2rem .8rem;color:var(--ink);text-decoration:none}
nav a:hover{color:var(--accent);text-decoration:underline}
section{background:var(--surface);border:1px solid var(--line);border-radius:8px;box-shadow:var(--shadow);padding:1.15rem 1.35rem 1.3rem;margin:0 0 1.1rem}
h2{margin:0 0 .2rem;font-size:1.16rem;line-height:1.3;font-weight:650}
h3{margin:1.3rem 0 .35rem;font-size:.95rem;font-weight:650}
p{margin:.35rem 0;max-width:52rem}
.lead{color:var(--muted);font-size:.9rem;margin:.1rem 0 .7rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13.5rem,1fr));gap:.8rem;margin:.8rem 0 0;padding:0;list-style:none}
.card{border:1px solid var(--line);border-left-width:5px;border-radius:6px;padding:.65rem .85rem .75rem}
.card .label{color:var(--muted);font-size:.8rem;font-weight:600}
.card .value{font-size:1.08rem;font-weight:650;line-height:1.3;margin:.1rem 0 .2rem}
.card .detail{font-size:.84rem;color:var(--muted)}
.good{border-left-color:var(--good)}.partly{border-left-color:var(--partly)}.bad{border-left-color:var(--bad)}.unknown{border-left-color:var(--unknown)}
.good .value{color:var(--good)}.partly .value{color:var(--partly)}.bad .value{color:var(--bad)}.unknown .value{color:var(--unknown)}
.tag{display:inline-block;border-radius:4px;padding:.02em .5em;font-size:.9em;font-weight:600;line-height:1.5;white-space:nowrap;background:var(--unknown-bg);color:var(--unknown)}
.tag.good{background:var(--good-bg);color:var(--good)}.tag.partly{background:var(--partly-bg);color:var(--partly)}.tag.bad{background:var(--bad-bg);color:var(--bad)}
.lane{font-weight:600;white-space:nowrap}.lane.attacker{color:var(--attacker)}.lane.system{color:var(--system)}.lane.responder{color:var(--responder)}
.mark{white-space:nowrap}
.scroll{overflow-x:auto;margin:.5rem 0 0}
table{border-collapse:collapse;width:100%;font-size:.88rem;line-height:1.42}
caption{text-align:left;color:var(--muted);font-size:.93em;padding:0 0 .35rem}
th,td{padding:.4rem .65rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);min-width:5.5rem}
thead th{color:var(--muted);font-size:.93em;font-weight:600;border-bottom:2px solid var(--line);vertical-align:bottom;white-space:nowrap;overflow-wrap:normal}
tbody th{font-weight:600}tbody th.time{font-weight:400}
tbody tr:last-child>*{border-bottom:0}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
table.thirds{table-layout:fixed}table.thirds th:nth-child(1){width:44%}table.thirds th:last-child{width:9.5rem}table.pairs th{width:13rem;font-weight:600;color:var(--muted)}
.num{text-align:right;min-width:0;font-variant-numeric:tabular-nums;white-space:nowrap}
.time{font-variant-numeric:tabular-nums;white-space:nowrap}
.text{min-width:11rem}.word{white-space:nowrap;min-width:0}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.92em}
.hash{word-break:break-all;min-width:12rem}
.small{font-size:.93em;color:var(--muted)}
.pre{white-space:pre-line}
.cell>*+*{display:block;margin-top:.15rem;font-weight:400}.cell>code{width:fit-content}td>ul.plain:first-child{margin-top:0}
.no{display:inline-flex;align-items:center;justify-content:center;width:1.45em;height:1.45em;border-radius:50%;background:var(--ink);color:var(--paper);font-size:.78rem;font-weight:700;margin-right:.5rem}
.no.none{background:transparent;color:var(--muted);box-shadow:inset 0 0 0 1.5px var(--muted)}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.9em;background:var(--band);border-radius:3px;padding:.06em .3em;-webkit-box-decoration-break:clone;box-decoration-break:clone}
ul.plain{margin:.35rem 0;padding-left:1.15rem}ul.plain li{margin:.2rem 0}
.durations{display:grid;grid-template-columns:repeat(auto-fill,minmax(12.5rem,1fr));gap:.5rem 1.2rem;margin:.5rem 0 0}.durations dt{color:var(--muted);font-size:.83rem}.durations dd{margin:0;font-weight:650;font-variant-numeric:tabular-nums}
figure{margin:.9rem 0 0}
.chart{display:block;width:100%;height:auto}
figcaption,.legend{color:var(--muted);font-size:.83rem}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.2rem;margin:.4rem 0 0;padding:0;list-style:none}
.notice{border-left:5px solid var(--partly);background:var(--partly-bg);padding:.5rem .8rem;border-radius:4px;margin:.6rem 0}
.two{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:0 1.8rem}
h3 .tag{font-size:.84em}details{margin:.4rem 0}summary{cursor:pointer;color:var(--accent)}
footer{max-width:82rem;margin:0 auto;padding:0 1.5rem 2.5rem;color:var(--muted);font-size:.84rem}
${chartColours}
@media (max-width:66rem){.page{display:block}nav{position:static;margin-bottom:1rem}nav ol{display:flex;flex-wrap:wrap;gap:.1rem 1rem;border:0}nav a{padding:.1rem 0;text-decoration:underline}.two{display:block}}
@media print{
@page{size:A4;margin:19mm 13mm 20mm}
html{font-size:9.6pt}body{background:none;font-size:9.6pt;line-height:1.38}
nav,.skip{display:none}
.page{display:block;max-width:none;padding:0}.top{border:0}.top>div,footer{max-width:none;padding:0 0 6pt}
section{border:0;border-top:1.5pt solid var(--ink);border-radius:0;box-shadow:none;padding:7pt 0 0;margin:0 0 13pt}
h2,h3,caption{break-after:avoid}
tr,.card,figure,.notice{break-inside:avoid}
thead{display:table-header-group}
table{font-size:8.5pt}th,td{padding:2.5pt 5pt;min-width:4rem}
.text{min-width:0}.hash{min-width:0}.scroll{overflow:visible}
.cards{grid-template-columns:repeat(4,1fr);gap:6pt}.card{padding:5pt 7pt}
details::details-content{content-visibility:visible;display:block}summary{list-style:none;color:inherit;font-weight:600;margin-top:6pt;break-after:avoid}summary::-webkit-details-marker{display:none}
a{color:inherit;text-decoration:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
`

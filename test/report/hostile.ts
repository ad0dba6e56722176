/** What a suspect may write into a name, a log line or an answer, to come alive in somebody's report. */
export const hostile = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "'><svg/onload=alert(1)>",
  '</style><script>alert(2)</script><style>',
  '</title></head><iframe src="http://127.0.0.1:9/f"></iframe>',
  '<a href="javascript:alert(1)">x</a> javascript:alert(1)',
  '![x](http://127.0.0.1:9/p)',
  '[a](javascript:alert(1)) <http://127.0.0.1:9/q>',
  'http://127.0.0.1:9/bare www.evil.example me@evil.example evil.example @team :smile:',
  '`code` ``` ~~~ **bold** _i_ ~s~ | pipe | \\| \\',
  '# heading\n## next\n\n---\n- item\n| a | b |\n| - | - |\n> quote\n    code',
  '[ref]: http://127.0.0.1:9/r "t"\n[^1]: note $$math$$ {{7*7}} ${7*7} {% raw %} <%= 7*7 %> {a|b} &lt;b&gt; &#60;',
  '\u001b[31mred\u001b[0m\u001b]8;;http://127.0.0.1:9/\u0007link\u001b]8;;\u0007 \u009b31m',
  '\u202egnp.exe\u202c \u2066iso\u2069 \u200bzero \ufeffbom \u2028line \u{e0041}tag \u0000nul',
  ']]> --> <!-- <![CDATA[ <?xml ?> &xxe;',
  `long${'A'.repeat(6000)}`,
] as const

/** All of them around a plain text. */
export function poison(plain: string): string {
  return `${plain} ${hostile.slice(0, -1).join(' ')}`
}

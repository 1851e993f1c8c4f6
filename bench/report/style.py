"""How a report looks: on a screen light or dark, on a phone, on paper.

Owns the style sheet and its colours' names. Fonts are the reader's own, Chinese ones among them: nothing is loaded.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #16202b; --quiet: #5a6775; --grid: #e1e6eb; --line: #d5dbe1;
  --first: #1f6feb; --second: #c2620a; --third: #b0284f;
  --good: #0b7a3e; --good-back: #e3f5ea; --bad: #b3161f; --bad-back: #fde8e8; --warn: #805600; --warn-back: #fff3cd;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", sans-serif,
    "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji";
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", "Noto Sans Mono CJK SC", "PingFang SC",
    "Microsoft YaHei", monospace, "Apple Color Emoji", "Segoe UI Emoji", "Noto Color Emoji";
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f141a; --card: #171e26; --ink: #e6edf3; --quiet: #9aa7b4; --grid: #2a333d; --line: #313b46;
    --first: #6cb0ff; --second: #f0a552; --third: #ff7d9c;
    --good: #58d68d; --good-back: #10301e; --bad: #ff8a8f; --bad-back: #3d1518; --warn: #f2c14e; --warn-back: #372b0a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 var(--sans);
  -webkit-text-size-adjust: 100%; overflow-wrap: anywhere; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 36px 0 12px; }
h3 { font-size: 1rem; margin: 0; }
p { margin: 6px 0; }
.quiet { color: var(--quiet); }
.small { font-size: 0.88rem; }
.brand { font-size: 0.8rem; font-weight: 600; letter-spacing: 0.08em; text-transform: uppercase; color: var(--quiet); }
.verdict, .warning { border: 1px solid; border-left-width: 8px; border-radius: 10px; padding: 16px 20px; margin: 20px 0 0; }
.verdict strong { display: block; font-size: 1.55rem; line-height: 1.25; }
.warning strong { display: block; }
.verdict span, .warning span { color: var(--ink); }
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.warn { color: var(--warn); background: var(--warn-back); }
.tiles { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 12px; margin: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px;
  display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.tiles dd { margin: 0; font-size: 1.45rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles dt { color: var(--quiet); font-size: 0.86rem; line-height: 1.35; }
.tiles small { font-size: 0.62em; font-weight: 500; color: var(--quiet); }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; overflow-wrap: normal; }
th, td { padding: 7px 14px; text-align: left; vertical-align: top; border-top: 1px solid var(--grid); }
tr:first-child > * { border-top: 0; }
tbody tr:first-child > * { border-top: 1px solid var(--grid); }
table:not(:has(thead)) tbody tr:first-child > * { border-top: 0; }
thead th, thead th.number { color: var(--quiet); font-weight: 600; font-size: 0.85rem; vertical-align: bottom;
  white-space: normal; min-width: 84px; }
tbody th { font-weight: 400; }
thead + tbody th { white-space: nowrap; }
.box + .box { margin-top: 10px; }
.caption { margin: 20px 0 6px; font-size: 0.93rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.ours > * { font-weight: 650; }
.pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px; align-items: start; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px 8px;
  display: flex; flex-direction: column; }
figcaption p { font-size: 0.85rem; line-height: 1.4; color: var(--quiet); margin: 2px 0 6px; }
figure svg { display: block; width: 100%; height: auto; margin-top: auto; overflow: visible; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 0.85rem; }
.legend i { display: inline-block; width: 18px; height: 4px; border-radius: 2px; margin-right: 6px; vertical-align: middle;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.first { background: var(--first); } .second { background: var(--second); } .third { background: var(--third); }
.bars { padding: 12px 16px; font-size: 0.93rem; }
.bars h3 { margin: 12px 0 4px; font-size: 0.93rem; } .bars h3:first-child { margin-top: 0; }
.bar { display: grid; grid-template: "name bar value" auto / minmax(0, 240px) minmax(0, 1fr) 90px; gap: 0 14px;
  align-items: center; padding: 3px 0; }
.bar span { grid-area: name; }
.bar i { grid-area: bar; height: 14px; border-radius: 3px; min-width: 2px; background: var(--quiet); opacity: 0.55;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar b { grid-area: value; text-align: right; font-weight: inherit; font-variant-numeric: tabular-nums; }
.bar.ours { font-weight: 650; } .bar.ours i { background: var(--first); opacity: 1; }
details { margin: 10px 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
summary { padding: 10px 16px; cursor: pointer; font-weight: 600; }
details > .box { border: 0; border-top: 1px solid var(--line); border-radius: 0 0 10px 10px; }
details > p { padding: 0 16px; }
pre { margin: 0; padding: 12px 16px; font: 0.86rem/1.5 var(--mono); white-space: pre; overflow-x: auto; overflow-wrap: normal; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 36px; color: var(--quiet); font-size: 0.85rem; }
@media (max-width: 760px) {
  main { padding: 18px 12px 36px; }
  h1 { font-size: 1.5rem; }
  .charts, .pair { grid-template-columns: minmax(0, 1fr); }
  .verdict strong { font-size: 1.3rem; }
  .verdict, .warning { padding: 12px 14px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; }
  .tiles div { padding: 10px 12px; }
  .tiles dd { font-size: 1.2rem; }
  figure { padding: 12px 10px 4px; }
  th, td { padding: 6px 10px; }
  thead + tbody th { white-space: normal; min-width: 110px; }
  .bar { grid-template: "name value" auto "bar bar" auto / minmax(0, 1fr) max-content; padding: 5px 0; }
}
@media print {
  :root { color-scheme: light; --paper: #ffffff; --card: #ffffff; --ink: #000000; --quiet: #444444; --grid: #dddddd;
    --line: #bbbbbb; --first: #1f6feb; --second: #c2620a; --third: #b0284f; --good: #0b7a3e; --good-back: #ffffff;
    --bad: #b3161f; --bad-back: #ffffff; --warn: #805600; --warn-back: #ffffff; }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  figure, .tiles div, .verdict, .warning, tr, .bar { break-inside: avoid; }
  h2 { break-after: avoid; }
  .box { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; }
}
"""

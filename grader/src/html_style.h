#pragma once

namespace grader {

/// The report's style sheet. Dark on light, prints well, needs no font that the reader's system does not
/// have.
inline constexpr const char* kReportStyle = R"css(
:root { --ink: #1f2933; --muted: #52606d; --line: #e1e5ea; --page: #f5f7f9; --card: #ffffff;
  --green: #18794e; --green-bg: #e2f5ea; --red: #b42318; --red-bg: #fdeae8; --blue: #1a56b0; --blue-bg: #e5eefb;
  --amber: #8a5a00; --amber-bg: #fdf1d5; --violet: #6d28d9; --violet-bg: #f0e8fe; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 920px; margin: 0 auto; padding: 40px 24px 56px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 0; }
h3 { font-size: 1.05rem; margin: 0; }
code, pre { font-family: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { font-size: 0.9em; }
pre { font-size: 0.82rem; line-height: 1.45; margin: 8px 0 4px; padding: 10px 12px; background: #f8fafb;
  border: 1px solid var(--line); border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
.muted { color: var(--muted); }
header { display: flex; gap: 24px; align-items: flex-end; justify-content: space-between; margin-bottom: 28px;
  flex-wrap: wrap; }
header p { margin: 0; overflow-wrap: anywhere; } header > div:first-child { flex: 1 1 20rem; min-width: 0; }
.score { text-align: right; }
.score strong { font-size: 2.6rem; line-height: 1; font-variant-numeric: tabular-nums; }
.score span { color: var(--muted); font-size: 1.1rem; }
.bar { height: 8px; width: 220px; background: #dfe4ea; border-radius: 4px; margin-top: 10px; overflow: hidden; }
.bar div { height: 100%; background: var(--green); }
.notice { border: 1px solid var(--violet); background: var(--violet-bg); color: #3b1380; padding: 12px 16px;
  border-radius: 8px; margin: 0 0 24px; }
.unsafe { border: 2px solid var(--red); background: var(--red-bg); color: #7a1810; padding: 12px 16px;
  border-radius: 8px; margin: 0 0 24px; }
.unsafe strong { display: inline-block; color: #fff; background: var(--red); padding: 1px 10px; margin-right: 10px;
  border-radius: 4px; letter-spacing: 0.08em; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0 0 24px;
  overflow: hidden; }
.heading { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; padding: 18px 22px; }
.points { font-variant-numeric: tabular-nums; white-space: nowrap; color: var(--muted); }
.points b { color: var(--ink); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-size: 0.78rem; font-weight: 600; color: var(--muted); text-transform: uppercase;
  letter-spacing: 0.04em; padding: 8px 10px; border-top: 1px solid var(--line); }
td { padding: 14px 10px; border-top: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { padding-left: 22px; }
th:last-child, td:last-child { padding-right: 22px; text-align: right; }
td.number { width: 44px; color: var(--muted); font-variant-numeric: tabular-nums; }
td.verdict { width: 150px; }
.badge { display: inline-block; padding: 2px 10px; border-radius: 999px; font-size: 0.8rem; font-weight: 600;
  white-space: nowrap; }
.passed { color: var(--green); background: var(--green-bg); }
.failed, .crashed, .timed_out { color: var(--red); background: var(--red-bg); }
.not_implemented { color: var(--blue); background: var(--blue-bg); }
.inconclusive { color: var(--amber); background: var(--amber-bg); }
.infrastructure_error { color: var(--violet); background: var(--violet-bg); }
.title { font-weight: 600; }
.reason { margin: 2px 0 0; color: var(--muted); font-size: 0.92rem; overflow-wrap: anywhere; }
details { margin-top: 6px; }
summary { cursor: pointer; color: var(--muted); font-size: 0.88rem; }
summary:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; border-radius: 3px; }
ul.tests { list-style: none; margin: 8px 0 0; padding: 0; font-size: 0.88rem; }
ul.tests li { padding: 4px 0; }
ul.tests li > div, ul.tests summary { overflow-wrap: anywhere; }
ul.tests details { margin: 0; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; }
.dot.passed { background: var(--green); } .dot.failed, .dot.crashed, .dot.timed_out { background: var(--red); }
.dot.not_implemented { background: #86aee6; } .dot.inconclusive { background: #d69e2e; }
.dot.infrastructure_error { background: var(--violet); }
.card { padding: 0 22px 20px; border-top: 1px solid var(--line); }
.card .heading { padding: 16px 0 8px; }
.measure { display: flex; gap: 36px; margin: 4px 0 12px; flex-wrap: wrap; }
.measure dt { font-size: 0.78rem; color: var(--muted); text-transform: uppercase; letter-spacing: 0.04em; }
.measure dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 8px 0 0; }
figure svg { display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
tr.figure td { border-top: 0; padding: 0 22px 20px; }
dl.machine { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; padding: 0 22px 20px;
  font-size: 0.92rem; }
dl.machine dt { color: var(--muted); } dl.machine dd { margin: 0; overflow-wrap: anywhere; }
table.bench th:last-child, table.bench td:last-child { text-align: left; }
table.submission th:last-child, table.submission td:last-child { text-align: left; }
table.submission td { padding-top: 8px; padding-bottom: 8px; overflow-wrap: anywhere; }
table.submission td.title { white-space: nowrap; }
td.files code { display: block; white-space: pre-wrap; }
td.figure { font-variant-numeric: tabular-nums; } td.figure .muted { font-size: 0.88rem; }
.card > pre { margin-top: 16px; }
@media (max-width: 560px) { main { padding: 24px 12px; } td.verdict { width: auto; } .score { text-align: left; } }
@media print { body { background: #fff; font-size: 12px; } main { max-width: none; padding: 0; }
  section, tr, figure { break-inside: avoid; } .badge, .bar, .dot, .unsafe { print-color-adjust: exact; } }
)css";

}  // namespace grader

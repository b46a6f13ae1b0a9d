"""How the page looks: one accent colour, the system's own letters, pictures first. Nothing comes from elsewhere."""

from __future__ import annotations

from typing import Any

import gradio as gr

_ACCENT = gr.themes.Color(
    c50="#eef6f7",
    c100="#d6eaed",
    c200="#aed6db",
    c300="#7dbac2",
    c400="#4a9aa5",
    c500="#2c7d8a",
    c600="#236673",
    c700="#1d535e",
    c800="#18434c",
    c900="#14373f",
    c950="#0c2329",
    name="accent",
)
_LETTERS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_CODE = ["ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"]


def theme() -> Any:
    """Gradio's plain theme in one colour; fonts of the system, so that none is loaded."""
    return gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue=gr.themes.colors.slate,
        font=_LETTERS,
        font_mono=_CODE,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_sm,
    ).set(
        body_background_fill="*neutral_50",
        block_border_width="0px",
        block_background_fill="*background_fill_primary",
        block_info_text_size="12px",
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_label_text_color="*neutral_800",
        block_title_text_color="*neutral_800",
        block_title_text_weight="600",
    )


CSS = """
.gradio-container{width:100%!important;max-width:1500px!important;min-width:0!important;margin:0 auto!important;
padding:0!important;overflow:clip!important}
.gradio-container .main,.gradio-container .wrap:has(>main){padding:0 10px!important;max-width:none!important}
#head{margin:10px 0 0}
.gradio-container .html-container{padding:0!important}
#head h1{font-size:22px;font-weight:650;margin:0}
#head p{margin:2px 0 0;color:var(--body-text-color-subdued)}
#layout{display:grid;grid-template-columns:330px minmax(0,1fr);grid-template-areas:"set show" "set told";
grid-template-rows:auto 1fr;gap:14px 18px;align-items:start}
#settings{grid-area:set;position:sticky;top:8px;max-height:calc(100vh - 16px);overflow-y:auto;min-width:0;
scrollbar-gutter:stable;gap:8px;flex-wrap:nowrap}
#settings>*{flex-shrink:0}
#show{grid-area:show;min-width:0;gap:8px}
#told{grid-area:told;min-width:0;gap:6px}
#layout .column,#layout .row{min-width:0!important}
#settings h2,#told h2{font-size:15px;font-weight:650;margin:8px 0 2px}
#settings .help,#settings .about{font-size:12px;line-height:1.4;color:var(--body-text-color-subdued);
margin:0 0 4px;padding:0 10px}
#settings .about{font-size:13px;padding:0 2px}
#settings .part{gap:2px}
#settings .part{border-left:3px solid var(--primary-300);padding-left:8px}
#pictures{display:grid;grid-template-columns:minmax(0,2.05fr) minmax(0,1fr);gap:14px;align-items:start}
#show figure{margin:0}
#show img{width:100%;height:auto;display:block;border-radius:6px}
#show figcaption{font-size:13px;line-height:1.4;color:var(--body-text-color-subdued);margin-top:5px}
#show .sources{display:grid;gap:10px}
#show .sources.many{grid-template-columns:1fr 1fr}
#show .sources figcaption{font-size:12px;margin-top:2px;overflow-wrap:anywhere}
.note{font-size:13px;color:var(--body-text-color-subdued);margin:8px 0}
.problem{background:#fdf1ef;color:#8a2219;border-left:4px solid #d9544d;border-radius:6px;padding:9px 12px;
font-size:14px;line-height:1.45;overflow-wrap:anywhere}
.problem small{display:block;color:#7a4a45}
.legend{display:flex;flex-wrap:wrap;gap:2px 12px;font-size:12px;margin:10px 0 0;color:var(--body-text-color)}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:5px;vertical-align:-1px}
.legend .hatched{background:repeating-linear-gradient(45deg,#b0b4bc 0 2px,#555b66 2px 4px)}
#instances{max-height:420px;overflow:auto!important}
#instances table{border-collapse:collapse;width:100%;font-size:13px;margin:0;border:0!important}
#instances th{text-align:left;font-weight:600;color:var(--body-text-color-subdued);position:sticky;top:0;
background:var(--body-background-fill);border:0;
border-bottom:2px solid var(--border-color-primary);padding:5px 10px 5px 0}
#instances td{border:0;border-bottom:1px solid var(--border-color-primary);padding:4px 10px 4px 0}
#instances tr{background:none!important;border:0!important}
.tag{display:inline-block;min-width:32px;text-align:center;border-radius:5px;color:#10141c;font-weight:600;
padding:0 6px}
.badge{color:#fff;border-radius:20px;padding:1px 10px 2px;font-size:12px;font-weight:600;white-space:nowrap}
.badge.kept{background:#23805a}.badge.shrunk{background:#2768bd}.badge.ignored{background:#94640c}
.badge.dropped{background:#c23f38}.badge.left-out{background:#667085}
.meter{display:inline-block;width:70px;height:7px;border-radius:4px;background:var(--border-color-primary);
overflow:hidden;margin-right:6px;vertical-align:1px}
.meter span{display:block;height:100%;background:var(--primary-500)}
.share{white-space:nowrap}
@media(max-width:760px){
:root{--block-padding:8px}
.gradio-container .main,.gradio-container .wrap:has(>main){padding:0 4px!important}
#layout{display:flex!important;flex-direction:column;flex-wrap:nowrap}
#layout>*{width:100%}
#settings{position:static;max-height:none;overflow:visible}
#show,#pictures{display:contents!important}
#problem{order:-3}
#sources{order:-1}
#mixed{order:-2;position:sticky;top:0;z-index:60;background:var(--body-background-fill);padding-bottom:4px}
#sources .sources{grid-template-columns:1fr 1fr}
#sources .sources.many{grid-template-columns:1fr 1fr 1fr}
#instances{max-height:none}
#instances th:nth-child(3),#instances td:nth-child(3),.meter{display:none}
#instances th,#instances td{padding-right:6px}
}
"""

"""What an app's page shows while its scripts are on their way: its outline, painted before the first of them is read.

Knows no component. The head of the page (`widgets/topbar.js`) takes the outline away when it is drawn itself.
"""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, Template

_TEMPLATE = """{% extends base %}
{% block js_resources %}{% endblock %}
{% block body %}
<body>
<style>
  body { background: #f6f5f1; }
  #acl-first { position: fixed; inset: 0; display: grid; grid-template: 42px minmax(0, 1fr) 58px / 5fr 11fr; gap: 4px 12px; }
  #acl-first { box-sizing: border-box; padding: 0 14px; color: #1c2229; font: 660 16px ui-sans-serif, system-ui, sans-serif; }
  #acl-first > * { grid-column: 1 / -1; }
  #acl-first strong { align-self: center; padding-inline-start: 28px; }
  #acl-first i { grid-column: auto; background: #fff; border: 1px solid #e3e1db; border-radius: 12px; margin-block-end: 10px; }
  #acl-first b { background: #fff; border-top: 1px solid #e3e1db; margin-inline: -14px; }
  @media (max-width: 899.9px) { #acl-first i { grid-column: 1 / -1; } #acl-first i + i { display: none; } }
  @media (prefers-color-scheme: dark) {
    body { background: #101317; } #acl-first { color: #e8e6e1; }
    #acl-first i, #acl-first b { background: #1a1e23; border-color: #30363d; }
  }
</style>
<div id="acl-first" role="status" aria-busy="true"><strong>{{ title | e }}</strong><i></i><i></i><b></b></div>
{{ bokeh_js if bokeh_js }}
{{ self.inner_body() }}
</body>
{% endblock %}
"""


@cache
def template() -> Template:
    """Panel's page with the outline before its scripts."""
    return Environment(autoescape=False).from_string(_TEMPLATE)

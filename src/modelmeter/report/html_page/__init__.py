"""The report as one HTML file that works offline: `render_html`, `write_html`."""

from modelmeter.report.html_page.page import render_html, write_html

__all__ = ["render_html", "write_html"]

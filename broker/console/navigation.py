"""What kind of request a browser makes: somebody goes to a page, or a page asks by itself (Fetch Metadata)."""

from __future__ import annotations

from aiohttp import web

from broker.core.media_type import weighted


def takes_html(request: web.Request) -> bool:
    """As browsers say; whoever takes anything gets the document that machines read."""
    accepted = weighted(request.headers.get("Accept", ""))
    return any(item.value == "text/html" and item.quality > 0 for item in accepted)


def is_navigation(request: web.Request) -> bool:
    """Somebody goes to a page: by an address, a link, a form. Browsers that do not say are taken by what they accept."""
    return request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate" and takes_html(request)

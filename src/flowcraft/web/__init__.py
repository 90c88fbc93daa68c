"""The HTTP application: API and dashboard of durable runs.

::

    app = create_app(FlowClient.sqlite("runs.db"), token="…")   # serve it with any ASGI server

It needs the extra ``web``; ``flowcraft ui`` serves it.
"""

from __future__ import annotations

from flowcraft.web.application import WebApp, create_app
from flowcraft.web.call import Limits
from flowcraft.web.security import Auth, User

__all__ = ["Auth", "Limits", "User", "WebApp", "create_app"]

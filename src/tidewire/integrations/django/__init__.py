"""
A hub in a Django project: `await stream(request, "news")` in a view, `publish_on_commit("news", ...)`.

The hub is that of `settings.TIDEWIRE`. Add `tidewire.integrations.django` to `INSTALLED_APPS`.
"""

from .configured import get_hub
from .publishing import publish_on_commit
from .streams import respond, stream, user_stream, user_topics

__all__ = ["get_hub", "publish_on_commit", "respond", "stream", "user_stream", "user_topics"]

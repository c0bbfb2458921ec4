"""Clients for hubs and for any other SSE server: `tidewire.client.sync` for programs without asyncio."""

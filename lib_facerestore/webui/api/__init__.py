"""The extension's HTTP API, a set of routes in the WebUI's own app."""

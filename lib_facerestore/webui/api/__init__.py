"""The extension's own HTTP API, under the WebUI's."""

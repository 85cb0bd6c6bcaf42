"""What the WebUI sees: everything that imports `modules.*` (inside functions, as hosts differ) and gradio."""

"""What the WebUI sees: the only room that may import `modules.*` (inside functions, as hosts differ) and gradio."""

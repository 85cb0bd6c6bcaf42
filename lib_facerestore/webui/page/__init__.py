"""The controls in the WebUI's page: the accordion with its face strip, and the models tab."""

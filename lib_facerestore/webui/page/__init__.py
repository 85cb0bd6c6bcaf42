"""What a page shows: the accordion with its face strip, and the models tab."""

"""Reading and writing pictures with their mode, depth, alpha, profile and metadata."""

"""Picture files in and out, with mode, depth, alpha, profile and metadata kept."""

"""What depends on the machine: packages that do not import everywhere, and the memory allocator."""

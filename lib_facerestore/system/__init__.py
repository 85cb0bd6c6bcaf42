"""Workarounds for the machine: packages that cannot be imported everywhere, and the memory allocator."""

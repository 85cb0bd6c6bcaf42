"""Long runs of the package against interruptions and faults; see docs/reliability.md."""

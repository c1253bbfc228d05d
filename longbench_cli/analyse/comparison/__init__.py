"""Base against candidate: what changed, how surely, and whether it is a regression."""

"""Attention whose sequence is shared by several ranks; every byte between them is counted."""

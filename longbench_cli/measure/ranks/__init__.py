"""A point of several ranks: the same stages as on one, each gone through by all of them at once."""

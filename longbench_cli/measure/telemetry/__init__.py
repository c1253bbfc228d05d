"""What else the machine did while a point was timed."""

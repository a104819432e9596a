"""What moves, and how it will."""

"""Keeping the index of circles and the managers in step."""

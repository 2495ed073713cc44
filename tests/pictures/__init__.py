"""Takes the pictures of the console that the README shows: `python -m tests.pictures`, or `make pictures`."""

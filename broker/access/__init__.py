"""Who calls: the use case that turns what a request presents into a `Principal`."""

"""Traces of accesses: what is written of each, and how a trail of them shows that it is whole. Pure."""

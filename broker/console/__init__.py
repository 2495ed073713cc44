"""The console: pages for the people who run a federation, rendered here and live by server-sent events."""

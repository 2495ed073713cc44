"""cds-broker: one entry point over the care-circle managers (Gestionnaires) of a territory."""

__version__ = "0.1.0"

"""Where traces of accesses go: files, a topic of the change log, a FHIR repository (IHE ITI-20)."""
